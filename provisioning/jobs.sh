# Sourced by quickstart and tests/run: children in process groups of their own, so that a signal is answered at once, Ctrl-C comes to
# the script alone, and nothing that was started outlives it. A child is told to end even when the script is killed outright.

job= installer=
services=()

# Installs the packages of a role. Told to end, it is waited for however long: half an installation is worse than a late end.
install_packages() {
	provisioning/install-packages "$@" &
	installer=$!
	local rc=0
	wait "$installer" || rc=$?
	installer=
	return $rc
}

# Runs a command to its end and returns its status.
job_run() {
	setsid setpriv --pdeathsig TERM "$@" </dev/null &
	job=$!
	local rc=0
	wait "$job" || rc=$?
	job=
	return $rc
}

# Starts a program that runs on, output to a file: service_start LOG COMMAND...; its pid is in $service.
service_start() {
	local log=$1
	shift
	setsid setpriv --pdeathsig TERM "$@" </dev/null >>"$log" 2>&1 &
	service=$!
	services=("$service" "${services[@]}")
}

# Ends what runs, the service that was started last first; each has 12 s before it is killed.
jobs_end() {
	local pid i
	if [ -n "$installer" ] && kill "$installer" 2>/dev/null; then
		wait "$installer" || true
	fi
	for pid in ${job:+"$job"} "${services[@]}"; do
		kill -- "-$pid" 2>/dev/null || continue
		for ((i = 0; i < 120; i++)); do
			kill -0 -- "-$pid" 2>/dev/null || break
			sleep 0.1
		done
		kill -KILL -- "-$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	job= services=()
}
