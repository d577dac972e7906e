// Package switchover is the state machine of the verbs that change roles:
// failover, failback, recover, cancel and resume.
//
// Decide turns a verb and the observed world into steps, or into a refusal
// with a reason. Run does the steps through Hands. What a step does is told by
// its Op; every step can be done again, and ends on something that was
// observed. Nothing is kept in memory only: the record of the pair holds the
// Switch, and with what is observed it says what is left to do. So a verb that
// was interrupted anywhere goes on when it, or resume, is run again by anybody.
//
// The order of the steps is what keeps the promises:
//
//   - Old primary's record first. The commit (new epoch, roles turned) is
//     written to the record at the old primary's site before the one at the new
//     primary's. A record there without it means that nothing was promoted.
//   - The fence before the opening. The new primary takes writes only after the
//     old direction's replicators are shut out of it.
//   - The position before the opening. The opposite link starts where both
//     sides held the same.
//   - The protection before the lifting. The old primary takes writes of
//     applications at no moment after it was closed.
//
// The package is pure: it talks to nobody and reads no clock.
package switchover
