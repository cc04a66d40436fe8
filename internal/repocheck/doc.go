// Package repocheck holds this repository to its own rules: who imports whom, where
// status codes are decided, what a log line may be given, what is documented. It has
// tests only.
package repocheck
