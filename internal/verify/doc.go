// Package verify decides whether a Kibo jwtAccessToken may speak for a
// customer: its form, its claims and, where a key is configured, its
// signature.
//
// Kibo documents no public key for these tokens, so there are four modes,
// chosen by which keys [Config] names:
//
//   - direct (no key): the token came from Kibo over TLS in answer to our own
//     call and never left our hands. Everything but the signature is checked.
//     A token that a client presents must never be judged in this mode; ask
//     [Verifier.Signs] first.
//   - hmac: HS256/384/512 with shared keys.
//   - key: RS/PS/ES/EdDSA with configured public keys.
//   - jwks: the same, with keys published at a URL.
//
// The algorithm always comes from the configuration. What the token says
// about itself (alg, kid) can only narrow the choice, never widen it; jku,
// x5u, jwk and x5c are not read at all.
package verify
