package pair

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
)

// Keys of the record's ConfigMap.
const (
	keySchemaVersion = "schemaVersion"
	keyPair          = "pair"
	keyPhase         = "phase"
	keyFailedStep    = "failedStep"
	keyEpoch         = "epoch"
	keyPrimary       = "primary"
	keyStandby       = "standby"
	keyPaused        = "paused"
	keyBody          = "record.json"
	keyJournal       = "journal"
)

// Data gives the record as the data of its ConfigMap. What a newer version
// added to the data that this record was read from is kept.
func (r *Record) Data() (map[string]string, error) {
	body, err := r.encodeBody()
	if err != nil {
		return nil, err
	}
	data := map[string]string{}
	maps.Copy(data, r.unknown)
	data[keySchemaVersion] = strconv.Itoa(SchemaVersion)
	data[keyPair] = r.Pair
	data[keyPhase] = string(r.Phase)
	data[keyFailedStep] = r.FailedStep
	data[keyEpoch] = strconv.FormatInt(r.Epoch, 10)
	data[keyPrimary] = r.Primary
	data[keyStandby] = r.Standby()
	data[keyPaused] = strconv.FormatBool(r.Paused)
	data[keyBody] = body
	data[keyJournal] = encodeJournal(r.Journal)
	return data, nil
}

func (r *Record) encodeBody() (string, error) {
	own := r.Body
	own.Spec.Sites = make([]Site, len(r.Body.Spec.Sites))
	for i, site := range r.Body.Spec.Sites {
		site.Kubeconfig = "" // a path of somebody's machine
		own.Spec.Sites[i] = site
	}
	text, err := json.Marshal(own)
	if err != nil {
		return "", fmt.Errorf("record of pair %s: %w", r.Pair, err)
	}
	var fresh any
	if err := json.Unmarshal(text, &fresh); err != nil {
		return "", fmt.Errorf("record of pair %s: %w", r.Pair, err)
	}
	if r.body != "" {
		var old any
		if err := json.Unmarshal([]byte(r.body), &old); err != nil {
			return "", fmt.Errorf("record of pair %s: %s as it was read: %w", r.Pair, keyBody, err)
		}
		keepUnknown(reflect.TypeFor[Body](), old, fresh)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(fresh); err != nil {
		return "", fmt.Errorf("record of pair %s: %w", r.Pair, err)
	}
	return out.String(), nil
}

// RecordFromData reads the data of a record's ConfigMap.
func RecordFromData(data map[string]string) (*Record, error) {
	if err := checkSchema(data[keySchemaVersion]); err != nil {
		return nil, err
	}
	r := &Record{
		Pair:       data[keyPair],
		Phase:      Phase(data[keyPhase]),
		FailedStep: data[keyFailedStep],
		Primary:    data[keyPrimary],
		body:       data[keyBody],
		unknown:    map[string]string{},
	}
	var err error
	if r.Epoch, err = strconv.ParseInt(data[keyEpoch], 10, 64); err != nil || r.Epoch < 1 {
		return nil, fmt.Errorf("key %s: %q is not a number greater than 0", keyEpoch, data[keyEpoch])
	}
	if r.Paused, err = strconv.ParseBool(data[keyPaused]); err != nil {
		return nil, fmt.Errorf("key %s: %q is neither true nor false", keyPaused, data[keyPaused])
	}
	if err := json.Unmarshal([]byte(data[keyBody]), &r.Body); err != nil {
		return nil, fmt.Errorf("key %s: %w", keyBody, typeError(err))
	}
	if _, ok := r.Body.Spec.Site(r.Primary); !ok {
		return nil, fmt.Errorf("key %s: %q is no site of the pair", keyPrimary, r.Primary)
	}
	if r.Journal, err = decodeJournal(data[keyJournal]); err != nil {
		return nil, err
	}
	for key, value := range data {
		switch key {
		case keySchemaVersion, keyPair, keyPhase, keyFailedStep, keyEpoch, keyPrimary, keyStandby, keyPaused, keyBody, keyJournal:
		default:
			r.unknown[key] = value
		}
	}
	return r, nil
}

func checkSchema(text string) error {
	version, err := strconv.Atoi(text)
	if err != nil || version < 1 {
		return fmt.Errorf("key %s: %q is not a version of the record", keySchemaVersion, text)
	}
	if version > SchemaVersion {
		return fault.New(fault.CodeError, "use a newer kubectl-redis_sync",
			"the record has schema version %d, and this version reads up to %d", version, SchemaVersion)
	}
	return nil
}

// Newer picks the record that counts of the two that the sites hold: the one
// with the higher epoch, of equal epochs the one that was written later. Two
// that were written apart from each other during a switch, or that name
// different primaries at one epoch, are an error: nobody knows who is right.
func Newer(a, b *Record) (*Record, error) {
	switch {
	case a == nil:
		return b, nil
	case b == nil:
		return a, nil
	case a.Epoch > b.Epoch:
		return a, nil
	case b.Epoch > a.Epoch:
		return b, nil
	case a.Primary != b.Primary:
		return nil, fault.Refuse("look at both records and correct the wrong one by hand",
			"the two records of pair %s disagree: at epoch %d one names %s as the primary, the other %s", a.Pair, a.Epoch, a.Primary, b.Primary)
	}
	newer, older := a, b
	if b.Body.Revision > a.Body.Revision || b.Body.Revision == a.Body.Revision && lastJournal(b).After(lastJournal(a)) {
		newer, older = b, a
	}
	if (newer.Switching() != nil || older.Switching() != nil) && !newer.descends(older) {
		return nil, fault.Refuse("look at both records, and delete the one that is wrong",
			"the two records of pair %s were written apart from each other at epoch %d during a switch", a.Pair, a.Epoch)
	}
	return newer, nil
}
