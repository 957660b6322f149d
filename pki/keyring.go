package pki

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/crypto/argon2"
)

// keyring seals secrets with the master key, which master.key holds encrypted. Format: docs/formats/keyfile.md.
type keyring struct {
	aead cipher.AEAD // AES-256-GCM with the master key
}

// Layout of master.key: docs/formats/keyfile.md.
const (
	keyMagic      = "mstrkey"
	keyVersion    = 1
	keyHeaderSize = 64
	keyFileSize   = keyHeaderSize + masterSize + 16
	masterSize    = 32

	kdfUnlockKey  = 1 // HKDF-SHA-256 of a file with a random key
	kdfPassphrase = 2 // argon2id

	// 64 MiB would be a tenth of the smallest gateway's memory; 32 MiB and 4 passes take 0.1 to 0.3 s there, once per start.
	argonMemoryKiB = 32 << 10
	argonPasses    = 4
	argonThreads   = 1
	// A file may ask for more, up to these, so that damaged bytes cannot take the machine's memory.
	maxArgonMemoryKiB = 256 << 10
	maxArgonPasses    = 64

	minPassphrase = 12
	minUnlockKey  = 32
	maxUnlockKey  = 4096

	sealVersion = 1
)

// unlockSecret is what opens master.key, and where it came from.
type unlockSecret struct {
	kdf    byte
	secret []byte
	file   string // for kdfUnlockKey
}

// openKeyring unlocks master.key, making it at first start.
//
// A passphrase given while the file is locked with an unlock key re-locks it with the passphrase; the unlock key
// that muster made itself is removed then, as it opens nothing any more.
func openKeyring(opts *Options) (*keyring, error) {
	file := path.Join(opts.Dir, "master.key")
	locked, err := opts.FS.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKeyring(opts, file)
	}
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", file, err)
	}
	kdf, err := keyFileKDF(locked)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if kdf == kdfPassphrase && opts.KeyPassphrase == "" {
		return nil, errors.New("the gateway's keys are locked with a passphrase: name the file with it in the setting pki.passphrase-file")
	}
	secret := unlockSecret{kdf: kdfPassphrase, secret: []byte(opts.KeyPassphrase)}
	if kdf == kdfUnlockKey {
		if secret, err = readUnlockKey(opts); err != nil {
			return nil, err
		}
	}
	master, err := unlockMaster(locked, secret)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if kdf == kdfUnlockKey && opts.KeyPassphrase != "" {
		if err := relock(opts, file, master, secret.file); err != nil {
			return nil, err
		}
	}
	return newKeyring(master)
}

func makeKeyring(opts *Options, file string) (*keyring, error) {
	if _, err := opts.FS.ReadFile(path.Join(opts.Dir, authorityFile)); err == nil {
		return nil, fmt.Errorf("%s is missing, so the gateway's keys cannot be opened: restore it from a backup", file)
	}
	secret := unlockSecret{kdf: kdfPassphrase, secret: []byte(opts.KeyPassphrase)}
	if opts.KeyPassphrase == "" {
		var err error
		if secret, err = readUnlockKey(opts); errors.Is(err, fs.ErrNotExist) && opts.UnlockKeyFile == "" {
			secret, err = makeUnlockKey(opts)
		}
		if err != nil {
			return nil, err
		}
	}
	master := make([]byte, masterSize)
	rand.Read(master)
	if err := writeMaster(opts, file, master, secret); err != nil {
		return nil, err
	}
	return newKeyring(master)
}

// relock encrypts the master key with the passphrase of opts.
func relock(opts *Options, file string, master []byte, unlockFile string) error {
	secret := unlockSecret{kdf: kdfPassphrase, secret: []byte(opts.KeyPassphrase)}
	if err := writeMaster(opts, file, master, secret); err != nil {
		return err
	}
	opts.Log.Info("the gateway's keys are now locked with the passphrase", "file", file)
	if unlockFile == defaultUnlockFile(opts) {
		if err := opts.FS.Remove(unlockFile); err != nil {
			return fmt.Errorf("remove the unlock key that is not needed any more: %w", err)
		}
	}
	return nil
}

func writeMaster(opts *Options, file string, master []byte, secret unlockSecret) error {
	if secret.kdf == kdfPassphrase && len(secret.secret) < minPassphrase {
		return fmt.Errorf("the passphrase for the gateway's keys is too short: it must have at least %d characters", minPassphrase)
	}
	locked, err := lockMaster(master, secret)
	if err != nil {
		return err
	}
	if err := opts.FS.WriteFile(file, locked, 0o600); err != nil {
		return fmt.Errorf("write %q: %w", file, err)
	}
	return nil
}

func defaultUnlockFile(opts *Options) string { return path.Join(opts.Dir, "unlock.key") }

// readUnlockKey finds the unlock key file; a missing one is fs.ErrNotExist inside a sentence.
func readUnlockKey(opts *Options) (unlockSecret, error) {
	file := opts.UnlockKeyFile
	if file == "" && opts.CredentialsDirectory != "" {
		credential := path.Join(opts.CredentialsDirectory, "muster-unlock-key")
		if _, err := opts.FS.ReadFile(credential); err == nil {
			file = credential
		}
	}
	if file == "" {
		file = defaultUnlockFile(opts)
	}
	raw, err := opts.FS.ReadFile(file)
	if err != nil {
		return unlockSecret{}, fmt.Errorf("the unlock key %q, which opens the gateway's keys, cannot be read (if it was moved, name it in the setting pki.unlock-file): %w", file, err)
	}
	secret := []byte(strings.TrimSpace(string(raw)))
	if len(secret) < minUnlockKey || len(secret) > maxUnlockKey {
		return unlockSecret{}, fmt.Errorf("the unlock key %q has %d bytes: it must have %d to %d random ones", file, len(secret), minUnlockKey, maxUnlockKey)
	}
	return unlockSecret{kdf: kdfUnlockKey, secret: secret, file: file}, nil
}

func makeUnlockKey(opts *Options) (unlockSecret, error) {
	raw := make([]byte, masterSize)
	rand.Read(raw)
	secret := []byte(hex.EncodeToString(raw))
	file := defaultUnlockFile(opts)
	if err := opts.FS.WriteFile(file, append(secret[:len(secret):len(secret)], '\n'), 0o600); err != nil {
		return unlockSecret{}, fmt.Errorf("write %q: %w", file, err)
	}
	return unlockSecret{kdf: kdfUnlockKey, secret: secret, file: file}, nil
}

// lockMaster encrypts the master key.
func lockMaster(master []byte, secret unlockSecret) ([]byte, error) {
	out := make([]byte, keyHeaderSize, keyFileSize)
	copy(out, keyMagic)
	out[7] = keyVersion
	out[8] = secret.kdf
	if secret.kdf == kdfPassphrase {
		out[9] = argonThreads
		binary.BigEndian.PutUint32(out[12:], argonMemoryKiB)
		binary.BigEndian.PutUint32(out[16:], argonPasses)
	}
	rand.Read(out[20:64]) // salt and nonce
	aead, err := keyFileAEAD(out, secret.secret)
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, out[52:64], master, out[:keyHeaderSize]), nil
}

// keyFileKDF checks the header of a key file and returns how its key is derived.
func keyFileKDF(file []byte) (byte, error) {
	if len(file) < 8 || string(file[:7]) != keyMagic {
		return 0, errors.New("this is not a muster key file: restore it from a backup")
	}
	if file[7] != keyVersion {
		return 0, fmt.Errorf("key file version %d is not known to this muster (it knows %d): use the newer binary", file[7], keyVersion)
	}
	if len(file) != keyFileSize {
		return 0, fmt.Errorf("the key file has %d bytes instead of %d: restore it from a backup", len(file), keyFileSize)
	}
	switch kdf := file[8]; kdf {
	case kdfUnlockKey:
		return kdf, nil
	case kdfPassphrase:
		memoryKiB, passes := binary.BigEndian.Uint32(file[12:]), binary.BigEndian.Uint32(file[16:])
		if file[9] == 0 || passes == 0 || memoryKiB > maxArgonMemoryKiB || passes > maxArgonPasses {
			return 0, fmt.Errorf("the key file asks for argon2id with %d KiB, %d passes, %d threads, which cannot be right: restore it from a backup", memoryKiB, passes, file[9])
		}
		return kdf, nil
	default:
		return 0, fmt.Errorf("key derivation %d is not known to this muster: use the newer binary", kdf)
	}
}

// unlockMaster decrypts a key file that keyFileKDF accepted.
func unlockMaster(file []byte, secret unlockSecret) ([]byte, error) {
	aead, err := keyFileAEAD(file, secret.secret)
	if err != nil {
		return nil, err
	}
	master, err := aead.Open(nil, file[52:64], file[keyHeaderSize:], file[:keyHeaderSize])
	if err != nil && secret.kdf == kdfPassphrase {
		return nil, errors.New("the passphrase does not open the gateway's keys: it is wrong, or the file was changed")
	}
	if err != nil {
		return nil, fmt.Errorf("the unlock key %q does not open the gateway's keys: it belongs to another gateway, or the file was changed", secret.file)
	}
	return master, nil
}

// keyFileAEAD derives the cipher of a key file from its header and the secret.
func keyFileAEAD(header, secret []byte) (cipher.AEAD, error) {
	salt := header[20:52]
	var key []byte
	if header[8] == kdfPassphrase {
		memoryKiB, passes := binary.BigEndian.Uint32(header[12:]), binary.BigEndian.Uint32(header[16:])
		key = argon2.IDKey(secret, salt, passes, memoryKiB, header[9], masterSize)
	} else {
		var err error
		if key, err = hkdf.Key(sha256.New, secret, salt, "muster master key 1", masterSize); err != nil {
			return nil, err
		}
	}
	return newGCM(key)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func newKeyring(master []byte) (*keyring, error) {
	aead, err := newGCM(master)
	if err != nil {
		return nil, err
	}
	return &keyring{aead: aead}, nil
}

// seal encrypts plain for the given use; unseal with another use refuses it.
func (k *keyring) seal(use string, plain []byte) ([]byte, error) {
	nonceSize := k.aead.NonceSize()
	out := make([]byte, 1+nonceSize, 1+nonceSize+len(plain)+k.aead.Overhead())
	out[0] = sealVersion
	rand.Read(out[1:])
	return k.aead.Seal(out, out[1:], plain, []byte("muster sealed 1 "+use)), nil
}

func (k *keyring) unseal(use string, sealed []byte) ([]byte, error) {
	nonceSize := k.aead.NonceSize()
	if len(sealed) < 1+nonceSize+k.aead.Overhead() {
		return nil, errors.New("a sealed secret is cut short")
	}
	if sealed[0] != sealVersion {
		return nil, fmt.Errorf("sealed secret version %d is not known to this muster (it knows %d): use the newer binary", sealed[0], sealVersion)
	}
	plain, err := k.aead.Open(nil, sealed[1:1+nonceSize], sealed[1+nonceSize:], []byte("muster sealed 1 "+use))
	if err != nil {
		return nil, errors.New("a sealed secret does not open: it was changed, or sealed by another gateway")
	}
	return plain, nil
}
