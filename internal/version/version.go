// Package version says which build this is. The variables are set with
// -ldflags -X; a build without them falls back to what the Go tool recorded.
package version

import (
	"runtime"
	"runtime/debug"
)

// Set at link time, for example
//
//	-X github.com/redis-sync/kubectl-redis-sync/internal/version.version=v0.1.0
var (
	version      = ""
	commit       = ""
	date         = ""
	sidecarImage = ""
)

// developmentImage is the replicator's image of a build that carries no
// release version. It is in no registry: a developer loads it into the nodes.
const developmentImage = "redis-sync-sidecar:dev"

// Info describes a build.
type Info struct {
	Version      string `json:"version"`
	Commit       string `json:"commit,omitempty"`
	Date         string `json:"date,omitempty"`
	GoVersion    string `json:"goVersion"`
	Platform     string `json:"platform"`
	SidecarImage string `json:"sidecarImage"`
}

// Get describes this build.
func Get() Info {
	info := Info{
		Version:      version,
		Commit:       commit,
		Date:         date,
		GoVersion:    runtime.Version(),
		Platform:     runtime.GOOS + "/" + runtime.GOARCH,
		SidecarImage: sidecarImage,
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		fillFrom(&info, build)
	}
	if info.Version == "" {
		info.Version = "dev"
	}
	if info.SidecarImage == "" {
		info.SidecarImage = developmentImage
	}
	return info
}

// fillFrom takes from the Go tool's own record what the linker was not told.
func fillFrom(info *Info, build *debug.BuildInfo) {
	if info.Version == "" && build.Main.Version != "" && build.Main.Version != "(devel)" {
		info.Version = build.Main.Version
	}
	for _, setting := range build.Settings {
		switch {
		case setting.Key == "vcs.revision" && info.Commit == "":
			info.Commit = setting.Value
		case setting.Key == "vcs.time" && info.Date == "":
			info.Date = setting.Value
		}
	}
}

// UserAgent is what we call ourselves towards an API server.
func (i Info) UserAgent() string {
	commit := i.Commit
	if len(commit) > 8 {
		commit = commit[:8]
	}
	if commit == "" {
		return "kubectl-redis_sync/" + i.Version
	}
	return "kubectl-redis_sync/" + i.Version + " (" + commit + ")"
}
