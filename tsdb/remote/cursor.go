package remote

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// The cursor is a line of text. Layout: docs/formats/remote.md.
const (
	cursorFile    = "cursor"
	cursorFormat  = "muster-remote-cursor %d file %d offset %d rows %d"
	cursorVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errCursorVersion = errors.New("the cursor of remote write was written by a newer version: use that one, or remove the file to send again what is in the log")

func writeCursor(fsys vfs.FS, dir string, at tsdb.LogPosition) error {
	text := fmt.Sprintf(cursorFormat, cursorVersion, at.File, at.Offset, at.Rows)
	text += fmt.Sprintf(" crc32c %08x\n", crc32.Checksum([]byte(text), castagnoli))
	return fsys.WriteFile(path.Join(dir, cursorFile), []byte(text), 0o600)
}

// readCursor returns the cursor, or the zero position where there is none.
func readCursor(fsys vfs.FS, dir string) (tsdb.LogPosition, error) {
	name := path.Join(dir, cursorFile)
	text, err := fsys.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return tsdb.LogPosition{}, nil
	}
	if err != nil {
		return tsdb.LogPosition{}, err
	}
	var at tsdb.LogPosition
	var version int
	var sum uint32
	if _, err := fmt.Sscanf(string(text), cursorFormat+" crc32c %08x\n", &version, &at.File, &at.Offset, &at.Rows, &sum); err != nil {
		if version > cursorVersion {
			return tsdb.LogPosition{}, errCursorVersion
		}
		return tsdb.LogPosition{}, fmt.Errorf("%q is damaged", name)
	}
	body := fmt.Sprintf(cursorFormat, version, at.File, at.Offset, at.Rows)
	switch {
	case string(text) != body+fmt.Sprintf(" crc32c %08x\n", sum) || sum != crc32.Checksum([]byte(body), castagnoli) || at.Offset < 0 || at.Rows < 0:
		return tsdb.LogPosition{}, fmt.Errorf("%q is damaged", name)
	case version != cursorVersion:
		return tsdb.LogPosition{}, errCursorVersion
	}
	return at, nil
}
