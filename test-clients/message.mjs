// Reads what a wallet is asked to sign, on standard input, as wallets do: EIP-4361 by its reference library, Solana's
// form by the wallet standard's. Prints its fields, or `refused: …`.
import { readFileSync } from "node:fs";
import { ParsedMessage } from "@signinwithethereum/siwe-parser";
import { createSignInMessageText, parseSignInMessageText } from "@solana/wallet-standard-util";

const message = readFileSync(0, "utf8");
const readers = {
  ethereum() {
    const read = new ParsedMessage(message);
    if (read.warnings.length) throw new Error(read.warnings.join("; "));
    return read;
  },
  solana() {
    const read = parseSignInMessageText(message);
    if (!read || createSignInMessageText(read) !== message) throw new Error("not a sign-in with Solana");
    return read;
  },
};

try {
  console.log(JSON.stringify(readers[process.argv[2]]()));
} catch (error) {
  console.log(`refused: ${error.message}`);
}
