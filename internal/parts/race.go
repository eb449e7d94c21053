//go:build race

package parts

// raceEnabled says that the test itself runs with the race detector.
const raceEnabled = true
