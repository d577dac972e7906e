// Package fault is the one place that says which exit code an error gets and
// what the user can do about it. An error of any package takes part by having
// an ExitCode or a Remedy method; nothing has to import this package for that.
package fault

import (
	"errors"
	"fmt"
	"slices"
)

// Exit codes of the plugin. Scripts depend on them: they are a format.
const (
	CodeOK          = 0   // done, or nothing to do
	CodeError       = 1   // any other error
	CodeChanges     = 2   // plan has changes; only with --detailed-exitcode
	CodeRefused     = 3   // a safety check refused; nothing was done
	CodeTimeout     = 4   // timed out; the state is as reported
	CodeDiffers     = 5   // verification found differences
	CodePartial     = 6   // stopped in the middle; run again to go on
	CodeNotFound    = 10  // no such pair or instance
	CodeLocked      = 11  // another operation holds the lock
	CodeAuth        = 12  // authentication or RBAC
	CodeInterrupted = 130 // stopped by a signal
)

// Error is an error with an exit code and, where there is one, a remedy.
type Error struct {
	Code int
	Err  error
	Fix  string // what to do about it: one imperative sentence, no final period
}

// Error gives the message without the remedy.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// ExitCode gives the process exit code.
func (e *Error) ExitCode() int { return e.Code }

// Remedy says what to do.
func (e *Error) Remedy() string { return e.Fix }

// New makes an error with an exit code and a remedy ("" for none).
func New(code int, remedy, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...), Fix: remedy}
}

// Refuse makes the error of a safety check: nothing was done.
func Refuse(remedy, format string, args ...any) error {
	return New(CodeRefused, remedy, format, args...)
}

// Wrap gives err a code and a remedy. A nil error stays nil.
func Wrap(code int, remedy string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: code, Err: err, Fix: remedy}
}

// ExitCode finds the code of an error: that of the outermost error in the
// chain that has one, else CodeError.
func ExitCode(err error) int {
	if err == nil {
		return CodeOK
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return CodeError
}

// Has reports whether an error in the tree of err has the code, also where an
// outer one has another.
func Has(err error, code int) bool {
	if err == nil {
		return false
	}
	if coded, ok := err.(interface{ ExitCode() int }); ok && coded.ExitCode() == code { //nolint:errorlint // walks the tree itself
		return true
	}
	switch wrapper := err.(type) { //nolint:errorlint // walks the tree itself
	case interface{ Unwrap() error }:
		return Has(wrapper.Unwrap(), code)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(wrapper.Unwrap(), func(inner error) bool { return Has(inner, code) })
	}
	return false
}

// Remedy finds the first remedy in the tree of an error.
func Remedy(err error) string {
	if err == nil {
		return ""
	}
	if r, ok := err.(interface{ Remedy() string }); ok && r.Remedy() != "" { //nolint:errorlint // walks the tree itself
		return r.Remedy()
	}
	switch wrapper := err.(type) { //nolint:errorlint // walks the tree itself
	case interface{ Unwrap() error }:
		return Remedy(wrapper.Unwrap())
	case interface{ Unwrap() []error }:
		for _, inner := range wrapper.Unwrap() {
			if remedy := Remedy(inner); remedy != "" {
				return remedy
			}
		}
	}
	return ""
}
