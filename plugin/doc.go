// Package plugin is the user's surface of kubectl redis-sync: one file per
// verb, with its flags, its help and its printing. cobra and cli-runtime are
// used here and in main only.
//
// Every verb is a NewXCommand(*Options) constructor. Standard output carries
// the result of a verb and nothing else; progress, warnings and questions go
// to standard error. Errors are returned, printed once by Execute, and mapped
// to the exit code by package fault.
package plugin
