// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// patternSize is how much of a disk is written, in bytes.
const patternSize = 4096

// pattern is what nobody else has written.
func (b *bench) pattern() []byte {
	p := bytes.Repeat([]byte(b.run.String()), patternSize/36+1)
	return p[:patternSize]
}

// imprint connects to an exported disk, writes the pattern, reads it back, and disconnects.
func (b *bench) imprint(ctx context.Context, d disk) error {
	h, err := b.serve(ctx, b.target(d, 1))
	if err != nil {
		return err
	}
	if err := h.WriteAt(ctx, b.pattern(), 0); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	got := make([]byte, patternSize)
	if err := h.ReadAt(ctx, got, 0); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if !bytes.Equal(got, b.pattern()) {
		return errors.New("what was read is not what was written")
	}
	return h.Close()
}

// askLife follows a disk from its creation to its end, as the driver does.
func askLife(ctx context.Context, b *bench) error {
	d, err := b.add(ctx, spec{})
	if err != nil {
		return err
	}
	if err := b.set(ctx, d, "nvme-tcp-export=yes"); err != nil {
		return err
	}
	h, err := b.serve(ctx, b.target(d, 1))
	if err != nil {
		return err
	}
	seen, err := h.Disk(ctx)
	if err != nil {
		return err
	}
	if seen.Size != b.Size {
		return fmt.Errorf("a disk of %d bytes is one of %d to a host", b.Size, seen.Size)
	}
	if err := b.imprint(ctx, d); err != nil {
		return err
	}
	b.tell("model %q, firmware %q, %s, tells events: %v", seen.Model, seen.Firmware, seen.identity(), seen.Events)
	if err := errors.Join(h.Close(), b.set(ctx, d, "nvme-tcp-export=no"), b.remove(ctx, d)); err != nil {
		return err
	}
	was, err := b.removeFile(ctx, d.spec.file)
	if err != nil {
		return err
	}
	if was {
		b.tell("removing the row leaves the file")
	} else {
		b.tell("removing the row removes the file, too, or removing a file says %q for one that is there", "no such item")
	}
	if was, err = b.removeFile(ctx, d.spec.file); err == nil && was {
		return errors.New("a file that was removed could be removed again")
	}
	return err
}

// askExistingFile adds a disk over a file in which something is written.
func askExistingFile(ctx context.Context, b *bench) error {
	first, err := b.add(ctx, spec{export: true})
	if err != nil {
		return err
	}
	if err := errors.Join(b.imprint(ctx, first), b.set(ctx, first, "nvme-tcp-export=no"), b.remove(ctx, first)); err != nil {
		return err
	}
	second, err := b.add(ctx, spec{file: first.spec.file, export: true})
	t, err := refusedOr(err)
	if t != nil {
		b.settle("RefuseFile", "true", "%q", t.Message)
		b.moot("BlankFile", "a file that is there is refused")
		return err
	}
	if err != nil {
		return err
	}
	h, err := b.serve(ctx, b.target(second, 1))
	if err != nil {
		return err
	}
	got := make([]byte, patternSize)
	if err := h.ReadAt(ctx, got, 0); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	b.settle("RefuseFile", "false", "a disk was made over a file that another had left")
	switch {
	case bytes.Equal(got, b.pattern()):
		b.settle("BlankFile", "false", "what was written through the first disk is read through the second")
	case bytes.Equal(got, make([]byte, patternSize)):
		b.settle("BlankFile", "true", "what was written through the first disk is read as zeroes through the second")
	default:
		return errors.New("what is read through the second disk is neither what was written nor zeroes")
	}
	return nil
}

// askSharedFile adds a second disk of a file that another uses.
func askSharedFile(ctx context.Context, b *bench) error {
	first, err := b.add(ctx, spec{})
	if err != nil {
		return err
	}
	_, err = b.add(ctx, spec{file: first.spec.file})
	t, err := refusedOr(err)
	if t != nil {
		b.settle("SharedFile", "false", "%q", t.Message)
		return err
	}
	if err != nil {
		return err
	}
	b.settle("SharedFile", "true", "both rows are there")
	return nil
}

// askRefusedAdd has adds refused, for an NQN or a slot that is taken, and looks for their files.
func askRefusedAdd(ctx context.Context, b *bench) error {
	first, err := b.add(ctx, spec{export: true})
	if err != nil {
		return err
	}
	asked := false
	for _, s := range []struct {
		why string
		spec
	}{
		{"its NQN", spec{nqn: first.spec.nqn, export: true, port: first.spec.port}},
		{"its slot", spec{slot: first.spec.slot}},
	} {
		d, err := b.add(ctx, s.spec)
		if err == nil {
			b.tell("an add whose %s is taken is accepted", s.why[4:])
			if err := b.remove(ctx, d); err != nil {
				return err
			}
			continue
		}
		if refusal(err) == nil {
			return err
		}
		asked = true
		left, err := b.removeFile(ctx, d.spec.file)
		if err != nil {
			return err
		}
		if left {
			b.settle("LeaveFile", "true", "an add that is refused for %s leaves its file behind", s.why)
			return nil
		}
	}
	if !asked {
		return &moot{"no add was refused"}
	}
	b.settle("LeaveFile", "false", "an add that is refused for its slot or its NQN leaves no file")
	return nil
}

// askDirectory adds a disk in a directory that is missing.
func askDirectory(ctx context.Context, b *bench) error {
	_, err := b.add(ctx, spec{file: b.directory() + "/" + b.name() + ".img"})
	t, err := refusedOr(err)
	if t != nil {
		b.settle("NeedDirectory", "true", "%q", t.Message)
		return err
	}
	if err != nil {
		return err
	}
	b.settle("NeedDirectory", "false", "the directory was made")
	return nil
}

// askShrink asks for half of a disk.
func askShrink(ctx context.Context, b *bench) error {
	d, err := b.add(ctx, spec{})
	if err != nil {
		return err
	}
	err = b.set(ctx, d, "file-size="+strconv.FormatInt(b.Size/2, 10))
	t, err := refusedOr(err)
	if t != nil {
		b.settle("Shrink", "false", "%q", t.Message)
		return err
	}
	if err != nil {
		return err
	}
	r, err := b.row(ctx, d)
	if err != nil {
		return err
	}
	size := r.Get("file-size")
	b.settleBool("Shrink", size == strconv.FormatInt(b.Size/2, 10),
		"the disk became smaller", "the box accepts it without a word, and the row still shows "+size)
	return nil
}

// askSpace looks at the free space of the pool around the making of a disk.
func askSpace(ctx context.Context, b *bench) error {
	before, err := b.free(ctx)
	if err != nil {
		return err
	}
	if _, err := b.add(ctx, spec{}); err != nil {
		return err
	}
	after, err := b.free(ctx)
	if err != nil {
		return err
	}
	how := "the file is sparse, or its room is not counted at once"
	if before-after >= b.Size {
		how = "its room is set aside"
	}
	b.tell("a disk of %d bytes took %d of the free space, if nobody else wrote: %s", b.Size, before-after, how)
	if !b.Fill {
		return nil
	}
	_, err = b.add(ctx, spec{size: (after + 1<<30) &^ (1<<20 - 1)})
	t, err := refusedOr(err)
	switch {
	case t != nil:
		b.tell("a disk that is larger than the free space is refused: %q", t.Message)
	case err == nil:
		b.tell("a disk that is larger than the free space is accepted: the pool can run out under guests")
	}
	return err
}

// free returns the free space of the pool, in bytes.
func (b *bench) free(ctx context.Context) (int64, error) {
	rows, err := b.session.Print(ctx, "/disk", rowProperties...)
	if err != nil {
		return 0, err
	}
	pool := poolOf(rows, b.VolumePath())
	n, err := strconv.ParseInt(pool.Get("free"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the free space of the pool: %w", err)
	}
	return n, nil
}

// askFilesRight asks whether files are removed without the policy ftp; that they are removed is known.
func askFilesRight(_ context.Context, b *bench) error {
	if !b.lacks("ftp") {
		return &moot{"the account has the policy ftp, or its policies are not known: run doctor as one without"}
	}
	b.settle("FilesNeedFTP", "false", "the account has write and not ftp, and may remove files")
	return nil
}

// lacks reports that the account is known to lack a policy.
func (b *bench) lacks(policy string) bool {
	for _, c := range b.report.Checks {
		if c.Name == rightsCheck && len(c.granted) > 0 {
			return !slices.Contains(c.granted, policy)
		}
	}
	return false
}

// askUsersRight asks whether users are listed without the policy of that name.
func askUsersRight(ctx context.Context, b *bench) error {
	_, err := b.session.Print(ctx, "/user", "name", "group")
	t, err := refusedOr(err)
	if t != nil {
		b.refused("/user/print", t.Message)
		b.settle("UsersNeedPolicy", "true", "the account may not list users: %q", t.Message)
		return err
	}
	if err != nil {
		return err
	}
	if !b.lacks("policy") {
		return &moot{"the account has the policy policy, or its policies are not known: run doctor as one without"}
	}
	b.settle("UsersNeedPolicy", "false", "the account lists users and has not the policy policy")
	return nil
}
