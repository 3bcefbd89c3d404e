// Package slipway holds the nouns of the product: apps, releases, deploys,
// people, roles, names and hosts, with their validation. It does no I/O and
// plans nothing, so that every other package may speak its words.
package slipway
