//go:build !race

package apps_test

const stride = 1
