//go:build race

package apps_test

// stride thins the places to be killed at: under the race detector each costs
// five times as much.
const stride = 3
