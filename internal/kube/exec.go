package kube

import (
	"bytes"
	"context"
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// Exec runs a command in a container and returns what it printed. A command
// that ends with a non-zero code is an error (CodeExitError of
// k8s.io/client-go/util/exec), with the output all the same.
func (c *Client) Exec(ctx context.Context, namespace, pod, container string, command []string) (stdout, stderr string, err error) {
	target := c.core.CoreV1().RESTClient().Post().
		Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: container, Command: command, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec).URL()
	executor, err := c.executor(target)
	if err != nil {
		return "", "", c.wrap(err, "exec in pod %s/%s", namespace, pod)
	}
	var out, errOut bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &errOut})
	if err != nil {
		return out.String(), errOut.String(), c.wrap(err, "exec %q in pod %s/%s", command[0], namespace, pod)
	}
	return out.String(), errOut.String(), nil
}

func (c *Client) executor(target *url.URL) (remotecommand.Executor, error) {
	old, err := remotecommand.NewSPDYExecutor(c.config, "POST", target)
	if err != nil {
		return nil, fmt.Errorf("prepare the SPDY upgrade: %w", err)
	}
	// The WebSocket executor is the one of Kubernetes >= 1.30; older API
	// servers and some proxies know SPDY only.
	current, err := remotecommand.NewWebSocketExecutor(c.config, "GET", target.String())
	if err != nil {
		return nil, fmt.Errorf("prepare the WebSocket upgrade: %w", err)
	}
	return remotecommand.NewFallbackExecutor(current, old, canFallBack)
}

func canFallBack(err error) bool {
	return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
}

// PodProxyGet sends GET path to the port of a pod through the API server.
func (c *Client) PodProxyGet(ctx context.Context, namespace, pod string, port int, path string) ([]byte, error) {
	raw, err := c.core.CoreV1().Pods(namespace).ProxyGet("http", pod, fmt.Sprint(port), path, nil).DoRaw(ctx)
	if err != nil {
		return raw, c.wrap(err, "read %s of pod %s/%s", path, namespace, pod)
	}
	return raw, nil
}
