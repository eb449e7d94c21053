// Package deploy holds what Stagedoor is shipped with: for now the Dockerfile
// of its image and the two account files that go into it. Its tests check that
// what these files say is true of the binary: commands, flags, how it is linked.
// It has no code of its own, and nothing imports it.
package deploy
