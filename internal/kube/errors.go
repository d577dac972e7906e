package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Error is a request to the API server of a site that failed.
type Error struct {
	Where string // the site and its context
	Op    string // what was tried
	Err   error
}

func (e *Error) Error() string { return e.Where + ": " + e.Op + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// ExitCode is that of authentication and RBAC where it is about them.
func (e *Error) ExitCode() int {
	if IsAuth(e.Err) {
		return 12
	}
	return 1
}

// Remedy says what to do.
func (e *Error) Remedy() string {
	switch {
	case apierrors.IsUnauthorized(e.Err):
		return "renew the credentials of this kubeconfig context"
	case IsForbidden(e.Err):
		return "ask the administrator of this cluster for the permission; the help of each verb lists what it needs"
	case IsUnreachable(e.Err):
		return "check that the API server of this context can be reached from here"
	default:
		return ""
	}
}

// ConfigError says that a kubeconfig or a context in it is unusable.
type ConfigError struct {
	Site    string
	Context string
	Err     error
}

func (e *ConfigError) Error() string {
	of := ""
	if e.Site != "" {
		of = " of site " + e.Site
	}
	if e.Context == "" {
		return fmt.Sprintf("kubeconfig%s: %v", of, e.Err)
	}
	return fmt.Sprintf("kubeconfig context %q%s: %v", e.Context, of, e.Err)
}

func (e *ConfigError) Unwrap() error { return e.Err }

// Remedy says what to do.
func (e *ConfigError) Remedy() string {
	return "`kubectl config get-contexts` lists the contexts there are"
}

// IsNotFound reports whether the object, or its namespace, does not exist.
func IsNotFound(err error) bool { return apierrors.IsNotFound(err) }

// IsForbidden reports whether RBAC does not allow the request.
func IsForbidden(err error) bool { return apierrors.IsForbidden(err) }

// IsAuth reports whether the API server refused the user's credentials or the
// user lacks a permission.
func IsAuth(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// IsConflict reports whether the object changed since it was read, or another
// manager owns a field that was to be applied.
func IsConflict(err error) bool { return apierrors.IsConflict(err) }

// IsAlreadyExists reports whether an object of this name exists.
func IsAlreadyExists(err error) bool { return apierrors.IsAlreadyExists(err) }

// IsInvalid reports whether the API server refused the content of an object.
func IsInvalid(err error) bool { return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) }

// IsConfig reports whether the kubeconfig or a context in it is unusable.
func IsConfig(err error) bool {
	var e *ConfigError
	return errors.As(err, &e)
}

// IsUnreachable reports whether the API server gave no answer at all, or said
// that it cannot answer now.
func IsUnreachable(err error) bool {
	if err == nil {
		return false
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) ||
			apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err)
	}
	var netErr net.Error
	var urlErr *url.Error
	return errors.As(err, &netErr) || errors.As(err, &urlErr) || errors.Is(err, context.DeadlineExceeded)
}
