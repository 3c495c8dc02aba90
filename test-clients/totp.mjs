// The code that an authenticator app shows now for an otpauth:// URL.
//   node totp.mjs OTPAUTH_URL
import { URI } from 'otpauth';

console.log(URI.parse(process.argv[2]).generate());
