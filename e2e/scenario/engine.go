// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rds-csi/rds-csi/e2e/await"
)

// A Command is a word of the scripts.
type Command struct {
	Usage string
	run   func(ctx context.Context, w *world, args []string) error
}

// worldKey is under which a script finds its world.
type worldKey struct{}

// worthTelling is how long a command takes that tells its time.
const worthTelling = time.Second

// Run runs the scripts: as many at a time as there are control planes, and begun in their order.
func (st *Stage) Run(t *testing.T, files ...string) {
	t.Helper()
	queue := make(chan string, len(files))
	for _, file := range files {
		queue <- file
	}
	close(queue)
	var all sync.WaitGroup
	for range st.cfg.Planes {
		all.Go(func() {
			for file := range queue {
				st.play(t, file)
			}
		})
	}
	all.Wait()
}

// play runs a script as a test of its own.
func (st *Stage) play(t *testing.T, file string) {
	testscript.RunT(script{t}, testscript.Params{
		Files: []string{file}, Cmds: st.commands(), RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			w, err := st.newWorld(st.ctx, scriptName(env))
			if err != nil {
				return err
			}
			env.Values[worldKey{}] = w
			env.Setenv("BOX", w.box.Address())
			env.Defer(func() {
				if err := w.cleanUp(st.ctx); err != nil {
					env.T().Log(err)
					env.T().FailNow()
				}
			})
			return nil
		},
	})
}

// commands are what scripts call.
func (st *Stage) commands() map[string]func(*testscript.TestScript, bool, []string) {
	commands := map[string]func(*testscript.TestScript, bool, []string){}
	for name, c := range Commands {
		commands[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			w, ok := ts.Value(worldKey{}).(*world)
			switch {
			case !ok:
				ts.Fatalf("the scenario has no world")
			case neg:
				ts.Fatalf("no command of a scenario can be negated: say what is so")
			}
			began := time.Now()
			if err := c.run(st.ctx, w, args); err != nil {
				w.broken = true
				ts.Fatalf("%v\nusage: %s %s", err, name, c.Usage)
			}
			if took := time.Since(began); took >= worthTelling {
				ts.Logf("it took %v", took.Truncate(100*time.Millisecond))
			}
		}
	}
	return commands
}

// scriptName is the name of the script whose directory it is.
func scriptName(env *testscript.Env) string {
	_, name, _ := strings.Cut(env.WorkDir, "script-")
	return name
}

// script is a test as testscript wants it. Whether another one runs beside it is not testscript's to say.
type script struct{ *testing.T }

func (script) Parallel() {}

// Verbose makes the scripts tell what they do, also those that go well.
func (script) Verbose() bool { return testing.Verbose() }

// Run runs a script.
func (s script) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) { f(script{t}) })
}

// eventually asks until the answer is nil, and fails with the last answer if that takes too long.
func eventually(ctx context.Context, ask func(context.Context) error) error {
	return await.Nil(ctx, ask)
}

// words are a command's arguments: plain ones, and those of the form key=value.
type words struct {
	plain []string
	keyed map[string]string
}

// parse takes arguments apart. Only the keys given may be used, and at least so many plain words must be.
func parse(args []string, plain int, keys ...string) (words, error) {
	ws := words{keyed: map[string]string{}}
	for _, arg := range args {
		key, value, keyed := strings.Cut(arg, "=")
		if !keyed {
			ws.plain = append(ws.plain, arg)
			continue
		}
		known := false
		for _, k := range keys {
			known = known || k == key
		}
		if !known {
			return ws, fmt.Errorf("there is no %s=, but %s", key, strings.Join(keys, "=, ")+"=")
		}
		ws.keyed[key] = value
	}
	if len(ws.plain) < plain {
		return ws, fmt.Errorf("%d words are not enough", len(ws.plain))
	}
	return ws, nil
}

// or returns the value of a key, or another one where it is not given.
func (ws words) or(key, otherwise string) string {
	if v, ok := ws.keyed[key]; ok {
		return v
	}
	return otherwise
}

// names returns the names that a word stands for: itself, or with count=N, name-0 to name-(N-1).
func (ws words) names(name string) ([]string, error) {
	count, ok := ws.keyed["count"]
	if !ok {
		return []string{name}, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 {
		return nil, fmt.Errorf("count=%s is not a number of things", count)
	}
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("%s-%d", name, i))
	}
	return names, nil
}
