// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package script

// condition evaluates what :if and :while look at.
func condition(f *frame, e expr) (bool, error) {
	v, err := e.eval(f)
	if err != nil {
		return false, err
	}
	b, ok := truth(v)
	if !ok {
		return false, fail("conditional not boolean")
	}
	return b, nil
}

// body carries out one of a command's blocks, if it has it.
func body(f *frame, b *block, bracketed bool) (Value, error) {
	if b == nil {
		return Nothing{}, nil
	}
	return b.run(f, bracketed)
}

func runIf(f *frame, in inputs, _ bool) (Value, error) {
	ok, err := condition(f, in.values[0])
	if err != nil {
		return nil, err
	}
	if ok {
		return body(f, in.blocks["do"], false)
	}
	return body(f, in.blocks["else"], false)
}

func runForeach(f *frame, in inputs, _ bool) (Value, error) {
	if in.named["in"] == nil {
		return nil, fail("missing value(s) of argument(s) in")
	}
	list, err := in.named["in"].eval(f)
	if err != nil {
		return nil, err
	}
	for _, v := range items(list) {
		if err := iterate(f, in, v); err != nil {
			return nil, err
		}
	}
	return Nothing{}, nil
}

// iterate carries out the body of a loop with its variable.
func iterate(f *frame, in inputs, v Value) error {
	if err := f.step(); err != nil {
		return err
	}
	inner := f.inner()
	inner.declare(in.words[0], v)
	_, err := body(inner, in.blocks["do"], false)
	return err
}

func runFor(f *frame, in inputs, _ bool) (Value, error) {
	bounds := map[string]int64{"step": 1}
	for name, e := range in.named {
		v, err := e.eval(f)
		if err != nil {
			return nil, err
		}
		n, ok := number(v)
		if !ok {
			return nil, fail("invalid value for argument %s", name)
		}
		bounds[name] = n
	}
	from, to, step := bounds["from"], bounds["to"], bounds["step"]
	if step == 0 {
		return nil, fail("invalid value for argument step")
	}
	for i := from; step > 0 && i <= to || step < 0 && i >= to; i += step {
		if err := iterate(f, in, Number(i)); err != nil {
			return nil, err
		}
	}
	return Nothing{}, nil
}

func runWhile(f *frame, in inputs, _ bool) (Value, error) {
	for {
		ok, err := condition(f, in.values[0])
		if err == nil && ok {
			err = f.step()
		}
		if err != nil || !ok {
			return Nothing{}, err
		}
		if _, err := body(f, in.blocks["do"], false); err != nil {
			return nil, err
		}
	}
}

func runDo(f *frame, in inputs, bracketed bool) (Value, error) {
	for {
		v, err := body(f, in.blocks["do"], bracketed)
		if _, ok := handled(err); ok && in.blocks["on-error"] != nil {
			return body(f, in.blocks["on-error"], bracketed)
		}
		if err != nil || in.named["while"] == nil {
			return v, err
		}
		again, err := condition(f, in.named["while"])
		if err == nil && again {
			err = f.step()
		}
		if err != nil || !again {
			return v, err
		}
	}
}

// runOnError carries out :onerror name in={…} do={…}: the text of what failed is in the variable.
func runOnError(f *frame, in inputs, bracketed bool) (Value, error) {
	v, err := body(f, in.blocks["in"], bracketed)
	failure, ok := handled(err)
	if !ok {
		return v, err
	}
	inner := f.inner()
	inner.declare(in.words[0], Text(failure.Message))
	return body(inner, in.blocks["do"], bracketed)
}
