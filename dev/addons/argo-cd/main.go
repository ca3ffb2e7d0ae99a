// Command argo-cd is Argo CD's parts in one binary: argo-cd application-controller|repo-server|server [flags], or Argo
// CD's own command line.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	controller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	reposerver "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	apiserver "github.com/argoproj/argo-cd/v3/cmd/argocd-server/commands"
	cli "github.com/argoproj/argo-cd/v3/cmd/argocd/commands"
)

func main() {
	servers := map[string]func() *cobra.Command{
		"application-controller": controller.NewCommand,
		"repo-server":            reposerver.NewCommand,
		"server":                 apiserver.NewCommand,
	}
	command, arguments := cli.NewCommand(), os.Args[1:]
	if len(arguments) > 0 && servers[arguments[0]] != nil {
		command, arguments = servers[arguments[0]](), arguments[1:]
	}
	command.SetArgs(arguments)
	if err := command.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
