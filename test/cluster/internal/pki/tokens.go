package pki

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeTokens writes the API server's token file: token,user,uid per line.
func writeTokens(dir string) error {
	var b strings.Builder
	for _, user := range []string{NoAccess, Viewer} {
		token, err := randomToken()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s,%s,%s\n", token, user, user)
	}
	// It is the mark of a complete folder, so it appears as a whole.
	path := filepath.Join(dir, Tokens)
	if err := os.WriteFile(path+".new", []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func tokenOf(user, file string) (string, error) {
	for line := range strings.Lines(file) {
		if f := strings.Split(strings.TrimSpace(line), ","); len(f) == 3 && f[1] == user {
			return f[0], nil
		}
	}
	return "", fmt.Errorf("no token of user %s in %s", user, Tokens)
}
