// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A Package is how one of RouterOS's packages stands on the box.
type Package int

// The states of a package.
const (
	Installed Package = iota
	Disabled          // installed, and turned off
	Available         // listed, and not installed
	Missing           // not listed
)

var packageNames = []string{"installed", "disabled", "available", "missing"}

// String returns the state's name.
func (p Package) String() string { return packageNames[p] }

// MarshalText writes the state's name.
func (p Package) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a state's name.
func (p *Package) UnmarshalText(text []byte) error {
	i := slices.Index(packageNames, string(text))
	if i < 0 {
		return fmt.Errorf("package state %.32q is none of %s", text, strings.Join(packageNames, ", "))
	}
	*p = Package(i)
	return nil
}

// A Change is what a person does to the box while it runs. What is nil stays as it is.
type Change struct {
	// Password of the account. Open sessions stay.
	Password *string `json:"password"`
	// Policies of the account's group, as in Config.
	Policies *string `json:"policies"`
	// Storage is how the package rose-storage stands. It counts at once, without the reboot that a real box
	// needs for it.
	Storage *Package `json:"storage"`
	// PoolState is what the pool's row says its state is, as in Config.
	PoolState *string `json:"pool-state"`
	// PoolMissing takes the pool away, or brings it back, with its files and the exports of all disks.
	PoolMissing *bool `json:"pool-missing"`
	// MissingDisks are the slots of disks that are missing, with commas in between: rows without an export, like
	// those of a missing pool, until a Change leaves them out.
	MissingDisks *string `json:"missing-disks"`
	// NoCertificate takes the certificate from api-ssl, or gives it back.
	NoCertificate *bool `json:"no-certificate"`
}

// Settings are what Change may change, but for the password.
type Settings struct {
	Policies      string  `json:"policies"` // as RouterOS prints them: "read,write,…,!ftp"
	Storage       Package `json:"storage"`
	PoolState     string  `json:"pool-state"` // empty: the pool's own
	PoolMissing   bool    `json:"pool-missing"`
	MissingDisks  string  `json:"missing-disks"`
	NoCertificate bool    `json:"no-certificate"`
}

// Settings returns the box's settings.
func (s *Sim) Settings() Settings {
	st := s.hw.settings.now()
	return Settings{
		Policies: st.policies.String(), Storage: st.storage,
		PoolState: st.poolState, PoolMissing: st.poolMissing,
		MissingDisks: st.missingDisks, NoCertificate: st.noCertificate,
	}
}

// settings are what of a box's configuration may change while it runs. They outlive boots.
type settings struct {
	mu    sync.Mutex
	state state
}

// A state is a box's settings at a time.
type state struct {
	password      string
	policies      policies
	storage       Package
	poolState     string
	poolMissing   bool
	missingDisks  string
	noCertificate bool
}

// newSettings returns those of a configuration, which was checked.
func newSettings(cfg Config) *settings {
	st := state{
		password: cfg.Password, policies: allPolicies, storage: cfg.Storage,
		poolState: cfg.PoolState, poolMissing: cfg.PoolMissing, noCertificate: cfg.NoCertificate,
	}
	if p, err := parsePolicies(cfg.Policies); err == nil && cfg.Policies != "" {
		st.policies = p
	}
	return &settings{state: st}
}

// now returns the settings as they are.
func (s *settings) now() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// apply takes over a change of a box of a configuration, or none of it.
func (s *settings) apply(c Change, cfg Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.state
	if c.Password != nil {
		next.password, cfg.Password = *c.Password, *c.Password
	}
	if c.Policies != nil {
		cfg.Policies = *c.Policies
	}
	if c.PoolState != nil {
		next.poolState, cfg.PoolState = *c.PoolState, *c.PoolState
	}
	if err := cfg.check(); err != nil {
		return err
	}
	if c.Policies != nil {
		next.policies = newSettings(cfg).state.policies
	}
	if c.Storage != nil {
		next.storage = *c.Storage
	}
	if c.PoolMissing != nil {
		next.poolMissing = *c.PoolMissing
	}
	if c.MissingDisks != nil {
		next.missingDisks = *c.MissingDisks
	}
	if c.NoCertificate != nil {
		next.noCertificate = *c.NoCertificate
	}
	s.state = next
	return nil
}

// Change does to the box what a person does: it is in force when Change returns, and outlives reboots. The
// context bounds the wait for a reboot. The error says what of the change is wrong; then nothing changes.
func (s *Sim) Change(ctx context.Context, c Change) error {
	b, release, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := s.hw.settings.apply(c, s.hw.cfg); err != nil {
		return fmt.Errorf("change the simulated box: %w", err)
	}
	// The power is held, so that the machine is not about to end.
	if err := b.machine.do(context.WithoutCancel(ctx), func() { b.machine.equip(s.hw.settings.now()) }); err != nil {
		return fmt.Errorf("change the simulated box: %w", err)
	}
	return nil
}

// authenticate checks a password login.
func (s state) authenticate(cfg Config, name, password string) bool {
	return same(name, cfg.Username) && same(password, s.password)
}

// login decides about a login over a transport that goes by the name of its policy. known says that the
// password, or the key, was right. It returns what the account may do.
func (b *boot) login(transport string, known func(state) bool) (policies, error) {
	st := b.settings.now()
	if !known(st) || !st.policies.has(transport) {
		return 0, errCredentials
	}
	return st.policies, nil
}
