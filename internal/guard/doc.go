// Package guard does to one Redis instance what a pair needs beyond reading:
// it keeps applications from writing to a standby, closes and opens the writes
// of a primary, raises the fence, and reads and writes the positions of
// links. It reaches every data pod through the API server.
//
// Every call can be repeated, looks again at what it did, and gives an error
// when it does not know the outcome.
package guard
