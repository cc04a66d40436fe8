// Command caddy is Caddy with every module of this repository compiled in.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/kiboauth/caddy-kibo-auth"
	_ "github.com/kiboauth/caddy-kibo-auth/filestore"
	_ "github.com/kiboauth/caddy-kibo-auth/redisstore"
)

func main() { caddycmd.Main() }
