// Signs as a wallet built on one of these libraries does, and prints {address, signature, base64?}.
//   node sign.mjs ethers|viem|tweetnacl PRIVATE_KEY_IN_HEX < message
// Without arguments each line of stdin is {library, key, message}, and each is answered by a line: for many signatures.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const wallets = {
  async ethers(key, message) {
    const { Wallet } = await import('ethers');
    const wallet = new Wallet(`0x${key}`);
    return { address: wallet.address, signature: await wallet.signMessage(message) };
  },
  async viem(key, message) {
    const { privateKeyToAccount } = await import('viem/accounts');
    const account = privateKeyToAccount(`0x${key}`);
    return { address: account.address, signature: await account.signMessage({ message }) };
  },
  async tweetnacl(key, message) {
    const { default: nacl } = await import('tweetnacl');
    const { default: bs58 } = await import('bs58');
    const pair = nacl.sign.keyPair.fromSeed(Buffer.from(key, 'hex'));
    const signature = nacl.sign.detached(Buffer.from(message), pair.secretKey);
    return {
      address: bs58.encode(pair.publicKey),
      signature: bs58.encode(signature),
      base64: Buffer.from(signature).toString('base64'),
    };
  },
};

const sign = async ({ library, key, message }) => console.log(JSON.stringify(await wallets[library](key, message)));

const [library, key] = process.argv.slice(2);
if (library) {
  await sign({ library, key, message: readFileSync(0, 'utf8') });
} else {
  for await (const line of createInterface({ input: process.stdin })) await sign(JSON.parse(line));
}
