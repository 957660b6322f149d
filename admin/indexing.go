package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"muster/tsdb/vfs"
)

// indexingFile is where the configuration of indexing is kept, in the data folder: the JSON of GetIndexingConfiguration
// with a version. See docs/formats/indexing.md.
const indexingFile = "indexing.json"

const maxCustomFields = 1000

// indexing keeps what UpdateIndexingConfiguration was told, for GetIndexingConfiguration (Terraform compares the two).
// The gateway indexes everything in any case: the configuration only switches the index off and on for its users.
type indexing struct {
	fs   vfs.FS
	path string

	mu     sync.Mutex // guards config
	config indexingConfiguration
}

// storedIndexing is the file.
type storedIndexing struct {
	Version int `json:"version"`
	indexingConfiguration
}

// openIndexing reads the file. Without one, all is on: that is where this gateway differs from AWS.
func openIndexing(fsys vfs.FS, folder string) (*indexing, error) {
	x := &indexing{fs: fsys, path: filepath.Join(folder, indexingFile)}
	x.config = indexingConfiguration{
		Things: &thingIndexing{Mode: "REGISTRY", ConnectivityMode: "STATUS", DefenderMode: "OFF", NamedShadowMode: "OFF"},
		Groups: &groupIndexing{Mode: "ON"},
	}
	text, err := fsys.ReadFile(x.path)
	if errors.Is(err, fs.ErrNotExist) {
		return x, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration of indexing: %w", err)
	}
	var stored storedIndexing
	if err := json.Unmarshal(text, &stored); err != nil || stored.Version != 1 || stored.Things == nil || stored.Groups == nil {
		return nil, fmt.Errorf("%s is damaged or of a newer version; remove it to index all, or use the newer version", x.path)
	}
	x.config = stored.indexingConfiguration
	return x, nil
}

func (x *indexing) on() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.config.Things.Mode != "OFF"
}

func (x *indexing) groupsOn() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.config.Groups.Mode != "OFF"
}

// schema is AWS's name for what is indexed.
func (x *indexing) schema() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	schema := x.config.Things.Mode
	if x.config.Things.ConnectivityMode == "STATUS" {
		schema += "_AND_CONNECTIVITY_STATUS"
	}
	return schema
}

// managedFields are the fields that need no declaration. Here no field does.
var managedFields = []indexField{
	{"connectivity.connected", "Boolean"}, {"connectivity.disconnectReason", "String"}, {"connectivity.timestamp", "Number"},
	{"registry.thingGroupNames", "String"}, {"registry.thingTypeName", "String"}, {"registry.version", "Number"},
	{"thingId", "String"}, {"thingName", "String"},
}

var managedGroupFields = []indexField{
	{"description", "String"}, {"parentGroupNames", "String"}, {"thingGroupId", "String"}, {"thingGroupName", "String"}, {"version", "Number"},
}

// current returns the configuration as GetIndexingConfiguration has it.
func (x *indexing) current() indexingConfiguration {
	x.mu.Lock()
	defer x.mu.Unlock()
	things, groups := *x.config.Things, *x.config.Groups
	if things.Mode != "OFF" {
		things.ManagedFields = managedFields
	}
	if groups.Mode != "OFF" {
		groups.ManagedFields = managedGroupFields
	}
	return indexingConfiguration{&things, &groups}
}

// update checks and keeps the halves that in has.
func (x *indexing) update(in indexingConfiguration) error {
	if in.Things == nil && in.Groups == nil {
		return invalid("send thingIndexingConfiguration or thingGroupIndexingConfiguration")
	}
	if t := in.Things; t != nil {
		for _, mode := range []struct {
			field  string
			value  *string
			values []string
		}{
			{"thingIndexingMode", &t.Mode, []string{"", "OFF", "REGISTRY", "REGISTRY_AND_SHADOW"}},
			{"thingConnectivityIndexingMode", &t.ConnectivityMode, []string{"OFF", "STATUS"}},
			{"deviceDefenderIndexingMode", &t.DefenderMode, []string{"OFF", "VIOLATIONS"}},
			{"namedShadowIndexingMode", &t.NamedShadowMode, []string{"OFF", "ON"}},
		} {
			if err := checkMode(mode.field, mode.value, mode.values); err != nil {
				return err
			}
		}
		if err := checkFields(t.CustomFields); err != nil {
			return err
		}
		t.ManagedFields = nil
	}
	if g := in.Groups; g != nil {
		if err := checkMode("thingGroupIndexingMode", &g.Mode, []string{"", "OFF", "ON"}); err != nil {
			return err
		}
		if err := checkFields(g.CustomFields); err != nil {
			return err
		}
		g.ManagedFields = nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	config := x.config
	if in.Things != nil {
		config.Things = in.Things
	}
	if in.Groups != nil {
		config.Groups = in.Groups
	}
	text, err := json.Marshal(storedIndexing{1, config})
	if err != nil {
		return fmt.Errorf("encode the configuration of indexing: %w", err)
	}
	if err := x.fs.WriteFile(x.path, text, 0o600); err != nil {
		return fmt.Errorf("write the configuration of indexing: %w", err)
	}
	x.config = config
	return nil
}

// checkMode checks a mode; the first of values is what it is when it is not given, "" if it must be.
func checkMode(field string, value *string, values []string) error {
	if *value == "" {
		*value = values[0]
	}
	if *value == "" || !slices.Contains(values, *value) {
		if values[0] == "" {
			values = values[1:]
		}
		return invalid("%s must be one of %v, not %q", field, values, short(*value))
	}
	return nil
}

func checkFields(fields []indexField) error {
	if len(fields) > maxCustomFields {
		return invalid("customFields: at most %d, these are %d", maxCustomFields, len(fields))
	}
	for _, f := range fields {
		if f.Name == "" || len(f.Name) > 1024 {
			return invalid("customFields: a name must have 1 to 1024 bytes, one has %d", len(f.Name))
		}
		if !slices.Contains([]string{"Number", "String", "Boolean"}, f.Type) {
			return invalid("customFields: the type of %s must be Number, String or Boolean, not %q", short(f.Name), short(f.Type))
		}
	}
	return nil
}
