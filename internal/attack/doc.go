// Package attack holds what strangers try against a gateway in front of a shop:
// spellings of paths and of headers that it may fail to recognise, addresses that
// a sign-in may be made to redirect to, and checks that send them. All of it is
// apart from any test, so that a running deployment can be tried as well.
package attack
