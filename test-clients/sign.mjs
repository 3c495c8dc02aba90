// Signs what comes in on stdin as a wallet built on this library does, and prints the address and the signature.
//   node sign.mjs ethers|viem|tweetnacl PRIVATE_KEY_IN_HEX < message
import { readFileSync } from 'node:fs';

const [library, key] = process.argv.slice(2);
const message = readFileSync(0, 'utf8');

const wallets = {
  async ethers() {
    const { Wallet } = await import('ethers');
    const wallet = new Wallet(`0x${key}`);
    return { address: wallet.address, signature: await wallet.signMessage(message) };
  },
  async viem() {
    const { privateKeyToAccount } = await import('viem/accounts');
    const account = privateKeyToAccount(`0x${key}`);
    return { address: account.address, signature: await account.signMessage({ message }) };
  },
  async tweetnacl() {
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

console.log(JSON.stringify(await wallets[library]()));
