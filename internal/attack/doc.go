// Package attack holds what strangers try against a gateway in front of a
// shop, apart from any test, so that a running deployment can be tried as well.
package attack
