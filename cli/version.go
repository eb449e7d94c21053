package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// software is Stagedoor's version as the build recorded it: a tag, or a
// pseudo-version with the commit's time and hash; "devel" where it has none.
func software() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

func (c *commands) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run: func(*cobra.Command, []string) {
			c.printf("stagedoor %s %s %s/%s\n", software(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}
