package topology

import (
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// DefaultPort is where Redis listens when nothing else is said.
const DefaultPort = 6379

// passwordEnv are the variables that operators and charts hand the password
// of the server in, best first.
var passwordEnv = []string{"REDIS_PASSWORD", "VALKEY_PASSWORD", "REDISCLI_AUTH", "AUTH"}

// passwordFileEnv name a file of a mounted Secret instead.
var passwordFileEnv = []string{"REDIS_PASSWORD_FILE", "VALKEY_PASSWORD_FILE"}

// dataContainer picks the container that runs the server.
func dataContainer(spec *corev1.PodSpec, names ...string) *corev1.Container {
	for _, name := range names {
		for i := range spec.Containers {
			if spec.Containers[i].Name == name {
				return &spec.Containers[i]
			}
		}
	}
	for i := range spec.Containers {
		if isServer(&spec.Containers[i]) {
			return &spec.Containers[i]
		}
	}
	return nil
}

// isServer tells a Redis or Valkey server by its command, its port or the
// name of its image; Sentinels and exporters are not servers.
func isServer(c *corev1.Container) bool {
	words := slices.Concat(c.Command, c.Args)
	for _, w := range words {
		if strings.Contains(w, "sentinel") {
			return false
		}
	}
	if len(words) > 0 {
		program := path.Base(words[0])
		if program == "redis-server" || program == "valkey-server" {
			return true
		}
	}
	image := path.Base(strings.SplitN(c.Image, "@", 2)[0])
	image, _, _ = strings.Cut(image, ":")
	if strings.Contains(image, "sentinel") || strings.Contains(image, "exporter") {
		return false
	}
	redisImage := strings.HasPrefix(image, "redis") || strings.HasPrefix(image, "valkey")
	for _, p := range c.Ports {
		if p.ContainerPort == DefaultPort && (redisImage || strings.Contains(p.Name, "redis") || strings.Contains(p.Name, "valkey")) {
			return true
		}
	}
	return redisImage && (image == "redis" || image == "valkey" || strings.HasSuffix(image, "-cluster"))
}

func envValue(c *corev1.Container, name string) (string, bool) {
	if c == nil {
		return "", false
	}
	for _, e := range c.Env {
		if e.Name == name && e.ValueFrom == nil {
			return e.Value, true
		}
	}
	return "", false
}

func envSecret(c *corev1.Container, name string) *SecretRef {
	if c == nil {
		return nil
	}
	for _, e := range c.Env {
		if e.Name == name && e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			return &SecretRef{Name: e.ValueFrom.SecretKeyRef.Name, Key: e.ValueFrom.SecretKeyRef.Key}
		}
	}
	return nil
}

// passwordRef finds the Secret that the server's password comes from.
func passwordRef(spec *corev1.PodSpec, c *corev1.Container) *SecretRef {
	for _, name := range passwordEnv {
		if ref := envSecret(c, name); ref != nil {
			return ref
		}
	}
	for _, name := range passwordFileEnv {
		if file, ok := envValue(c, name); ok {
			if ref := mountedSecret(spec, c, file); ref != nil {
				return ref
			}
		}
	}
	return nil
}

// mountedSecret finds the Secret behind a file of a container.
func mountedSecret(spec *corev1.PodSpec, c *corev1.Container, file string) *SecretRef {
	for _, m := range c.VolumeMounts {
		if path.Clean(m.MountPath) != path.Dir(file) {
			continue
		}
		for _, v := range spec.Volumes {
			if v.Name == m.Name && v.Secret != nil {
				key := path.Base(file)
				for _, item := range v.Secret.Items {
					if item.Path == key {
						key = item.Key
					}
				}
				return &SecretRef{Name: v.Secret.SecretName, Key: key}
			}
		}
	}
	return nil
}

// tlsOf says whether the server speaks TLS, and which Secret it does so with.
func tlsOf(spec *corev1.PodSpec, c *corev1.Container) (bool, *TLSSecret) {
	on := false
	for _, name := range []string{"TLS_MODE", "REDIS_TLS_ENABLED", "VALKEY_TLS_ENABLED"} {
		if v, ok := envValue(c, name); ok && (v == "true" || v == "yes") {
			on = true
		}
	}
	for _, v := range spec.Volumes {
		if v.Secret != nil && (v.Name == "tls-certs" || v.Name == "redis-certificates" || v.Name == "valkey-certificates") {
			return true, &TLSSecret{Name: v.Secret.SecretName, CA: "ca.crt", Cert: "tls.crt", Key: "tls.key"}
		}
	}
	return on, nil
}

// portOf finds the port of the server in the container.
func portOf(c *corev1.Container) int {
	for _, name := range []string{"REDIS_PORT", "REDIS_PORT_NUMBER", "VALKEY_PORT_NUMBER"} {
		if v, ok := envValue(c, name); ok {
			if port, err := strconv.Atoi(v); err == nil && port > 0 {
				return port
			}
		}
	}
	if c != nil {
		for _, p := range c.Ports {
			switch p.Name {
			case "redis", "tcp-redis", "client", "redis-client", "valkey", "tcp-valkey":
				return int(p.ContainerPort)
			}
		}
	}
	return DefaultPort
}
