// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package control lets a simulated box be disturbed, and looked into, over HTTP with JSON.
//
//	GET    /status            addresses, disks, room, sessions
//	GET    /disks, /files     what the box holds
//	GET    /journal           the first and the last write of each host to each volume
//	GET    /commands          how often each command came
//	GET    /faults            the faults in force
//	POST   /faults            put one in force: see [Fault]
//	DELETE /faults[/ID]       end one, or all
//	POST   /drop              end the connections of the API and SSH, or of hosts: {"nqn": …, "host": …}
//	POST   /freeze, /thaw     {"sessions": true, "nvme": true}; without either, both
//	POST   /fill              {"free": BYTES}: take room until so much is left; a negative number gives it back
//	POST   /resize            {"disk": ID or SLOT, "size": BYTES}, without an event
//	GET    /settings          what a person sets, but for the password: see [sim.Settings]
//	POST   /settings          set some of it, and the password: see [sim.Change]
//	POST   /reboot            {"lose": "5s"}: with the last time's configuration lost, if it is given
//
// Times are written as "1.5s" or "200ms". What fails is answered with a status of 400 and above and
// {"error": TEXT}. There is no login: whoever reaches the address may do all of this.
//
// # Concurrency
//
// The handler may serve any number of requests at a time.
package control
