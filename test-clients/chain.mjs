// An Ethereum node in one file: JSON-RPC over HTTP before a real EVM. On its chain, number 1, live a wallet and the
// factory of another one that is not deployed yet. The wallets take the hash itself for a signature of it.
// Prints { port, wallet, counterfactual } and serves until its stdin ends.
import { createServer } from 'node:http';
import { createEVM } from '@ethereumjs/evm';
import { createAddressFromString, hexToBytes, bytesToHex } from '@ethereumjs/util';
import { AbiCoder, concat, getAddress, getCreate2Address, keccak256 } from 'ethers';

// return (calldata[4..36] == calldata[100..132]) * (0x1626ba7e << 224)
const WALLET = '0x600435606435146316' + '26ba7e60e01b0260005260206000f3';
// The constructor that returns it.
const DEPLOY_WALLET = concat(['0x77', WALLET, '0x60005260186008f3']);
// create2(value 0, code = calldata, salt 0)
const FACTORY = '0x3660006000376000366000' + '6000f500';

const wallet = getAddress('0x1111111111111111111111111111111111111111');
const factory = getAddress('0x2222222222222222222222222222222222222222');
const counterfactual = getCreate2Address(factory, '0x' + '00'.repeat(32), keccak256(DEPLOY_WALLET));

const evm = await createEVM();
for (const [address, code] of [[wallet, WALLET], [factory, FACTORY]]) {
  await evm.stateManager.putCode(createAddressFromString(address), hexToBytes(code));
}

async function call({ to, data }) {
  await evm.stateManager.checkpoint();
  try {
    const result = await evm.runCall({
      to: to && createAddressFromString(to.toLowerCase()),
      data: hexToBytes(data),
      gasLimit: 30_000_000n,
    });
    const { exceptionError, returnValue } = result.execResult;
    if (exceptionError) return { error: { code: 3, message: `execution reverted: ${exceptionError.error}` } };
    return { result: bytesToHex(returnValue) };
  } finally {
    await evm.stateManager.revert();
  }
}

const methods = {
  eth_chainId: () => ({ result: '0x1' }),
  eth_call: ([transaction]) => call(transaction),
  // What a wallet's software does that has not deployed the wallet yet (EIP-6492).
  test_counterfactualSignature([signature]) {
    const parts = AbiCoder.defaultAbiCoder().encode(['address', 'bytes', 'bytes'], [factory, DEPLOY_WALLET, signature]);
    return { result: concat([parts, '0x' + '6492'.repeat(16)]) };
  },
};

const server = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const { id, method, params } = JSON.parse(body);
  const answer = (await methods[method]?.(params)) ?? { error: { code: -32601, message: 'no such method' } };
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify({ jsonrpc: '2.0', id, ...answer }));
});
server.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ port: server.address().port, wallet, counterfactual }));
});
process.stdin.on('end', () => process.exit(0)).resume();
