package main

import (
	"fmt"
	"os"
	"runtime"
)

var version = "unknown"

func main() {
	fmt.Printf("hello from go %s for %s as %d\n", version, runtime.GOARCH, os.Getuid())
}
