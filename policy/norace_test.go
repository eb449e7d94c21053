//go:build !race

package policy_test

// raceEnabled says that the test runs with the race detector.
const raceEnabled = false
