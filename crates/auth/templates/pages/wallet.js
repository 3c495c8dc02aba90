
'use strict';
// Asks the wallet that is in the browser for an address, or to sign what the page shows, and sends the form with it.
(() => {
  const form = document.getElementById('wallet');
  if (!form) return;
  const problem = document.getElementById('wallet-problem');
  const announced = [];
  addEventListener('eip6963:announceProvider', (event) => announced.push(event.detail.provider));
  dispatchEvent(new Event('eip6963:requestProvider'));
  const hex = (text) => '0x' + Array.from(new TextEncoder().encode(text), (byte) => byte.toString(16).padStart(2, '0')).join('');
  const wallets = {
    ethereum: {
      find: () => window.ethereum ?? announced[0],
      address: async (wallet) => (await wallet.request({ method: 'eth_requestAccounts' }))[0],
      sign: (wallet, message, address) => wallet.request({ method: 'personal_sign', params: [hex(message), address] }),
    },
    solana: {
      find: () => window.phantom?.solana ?? window.solana,
      address: async (wallet) => {
        const connected = await wallet.connect();
        return (connected?.publicKey ?? wallet.publicKey).toString();
      },
      sign: async (wallet, message) => {
        await wallet.connect();
        const signed = await wallet.signMessage(new TextEncoder().encode(message), 'utf8');
        return btoa(String.fromCharCode(...(signed.signature ?? signed)));
      },
    },
  };
  const use = async (name) => {
    problem.hidden = true;
    const wallet = wallets[name].find();
    if (!wallet) throw new Error('No such wallet was found in this browser.');
    const fields = form.elements;
    if (fields.message) fields.signature.value = await wallets[name].sign(wallet, fields.message.value, fields.address.value);
    else fields.address.value = await wallets[name].address(wallet);
    form.submit();
  };
  for (const button of form.querySelectorAll('button[data-wallet]')) {
    button.addEventListener('click', () => use(button.dataset.wallet).catch((error) => {
      problem.textContent = error instanceof Error ? error.message : 'The wallet refused.';
      problem.hidden = false;
    }));
  }
  form.hidden = false;
})();
