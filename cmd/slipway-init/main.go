// Command slipway-init is PID 1 of every sandbox of engine proc and of every
// pod of engine kube.
//
// In a sandbox it runs the app's program as an unprivileged user and restarts
// it on a fixed curve, also while the platform is away; passes TERM on; reaps;
// keeps the output in bounded files; opens the app's port to whoever may
// connect to its socket; and leads loopback ports to the platform. It is
// configured by inside.Spec in its private folder, and reports there.
//
// In a pod (slipway-init pod) the kubelet restarts it and keeps the output. There
// it also asks whether a task may begin, hands over what a task keeps, and
// makes an app that listens on the loopback only reachable at the pod's address.
//
// Beside either (slipway-init files) it shows and changes the files of a folder,
// as the app's user.
package main

import (
	"fmt"
	"os"
	"strconv"

	"slipway.dev/slipway/internal/engine/files"
	"slipway.dev/slipway/internal/engine/inside"
)

func main() {
	if len(os.Args) > 3 && os.Args[1] == "child" {
		uid, err := strconv.Atoi(os.Args[2])
		if err != nil || uid == 0 { // less than 0: no sandbox, everybody is the same user
			fail("child: user %q is not an unprivileged user's number", os.Args[2])
		}
		fmt.Fprintln(os.Stderr, "slipway:", child(uid, os.Args[3], os.Args[4:]))
		os.Exit(127)
	}
	if len(os.Args) > 1 && os.Args[1] == files.Verb {
		os.Exit(files.Serve(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	if len(os.Args) > 1 {
		if fn := podVerbs[os.Args[1]]; fn != nil {
			os.Exit(fn(os.Args[2:]))
		}
	}
	dir := inside.Dir
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	var spec inside.Spec
	if ok, err := inside.Read(dir+"/"+inside.SpecFile, &spec); err != nil || !ok {
		fail("no readable %s in %s: %v", inside.SpecFile, dir, err)
	}
	if err := run(dir, spec); err != nil {
		fail("%v", err)
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "slipway-init: "+format+"\n", args...)
	os.Exit(1)
}
