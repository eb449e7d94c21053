package parts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// RESTClient is the release of shotgun-nodejs that tests run, from the npm
// registry. node/package-lock.json pins it, and all that it depends on, by
// content.
const RESTClient = "4.2.0"

// NodeTool is a Node.js that can load shotgun-nodejs.
type NodeTool struct {
	// Path of the interpreter.
	Path string
	// Modules is the folder to name in NODE_PATH; a script then loads the
	// client by createRequire(import.meta.url)("shotgun-nodejs").
	Modules string
}

// Node is a Node.js with shotgun-nodejs of the release [RESTClient], in a
// folder that is kept for later runs. It needs node and npm in the PATH, and
// the npm registry the first time; see [Missing].
func Node(tb testing.TB) NodeTool {
	tb.Helper()
	tool, err := node(tb.Context())
	if err != nil {
		Missing(tb, "shotgun-nodejs "+RESTClient+" from npm", err)
	}
	return tool
}

func node(ctx context.Context) (NodeTool, error) {
	// The path behind any shim, and the version, so that another interpreter
	// gets a folder of its own.
	host, err := command(ctx, "node", "-p", "process.execPath + '\\n' + process.version")
	if err != nil {
		return NodeTool{}, err
	}
	root, err := moduleRoot()
	if err != nil {
		return NodeTool{}, err
	}
	pins := filepath.Join(root, "internal", "parts", "node")
	key, err := hashFiles(pins, host, "*.json")
	if err != nil {
		return NodeTool{}, err
	}
	executable, _, _ := strings.Cut(host, "\n")
	dir, err := cached("shotgun-nodejs-"+RESTClient+"-"+key, func(dir string) error {
		if err := os.CopyFS(dir, os.DirFS(pins)); err != nil {
			return err
		}
		// ci takes what the lock file names and nothing else, and no package
		// runs anything while it is installed.
		if _, err := command(ctx, "npm", "ci", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"); err != nil {
			return err
		}
		return checkRESTClient(ctx, executable, filepath.Join(dir, "node_modules"))
	})
	return NodeTool{Path: executable, Modules: filepath.Join(dir, "node_modules")}, err
}

// checkRESTClient loads the client and compares the version.
func checkRESTClient(ctx context.Context, executable, modules string) error {
	out, err := command(ctx, executable, "-p",
		`require(process.argv[1] + "/shotgun-nodejs").ShotgunApiClient.name + " " + require(process.argv[1] + "/shotgun-nodejs/package.json").version`, modules)
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(out); got != "ShotgunApiClient "+RESTClient {
		return fmt.Errorf("the client calls itself %s, not %s", got, RESTClient)
	}
	return nil
}

// Curl is the path of the system's curl; see [Missing].
func Curl(tb testing.TB) string {
	tb.Helper()
	path, err := exec.LookPath("curl")
	if err == nil && !filepath.IsAbs(path) {
		err = errors.New("it is named relative to the working folder")
	}
	if err != nil {
		Missing(tb, "curl", err)
	}
	return path
}
