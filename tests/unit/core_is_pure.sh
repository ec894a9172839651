#!/bin/sh
# core_is_pure.sh LIBRARY: fails when the core library needs the time, chance, a socket, a file, a thread, a log, the broker or a store
set -eu
symbols=$(nm -u "$1" | awk '$1 == "U" { print $2 }' | sed 's/@.*//' | sort -u)
banned='clock_gettime|time|gettimeofday|clock|times|nanosleep|usleep|sleep|select|poll|epoll_.*|timerfd_.*|eventfd'
banned="$banned|send.*|recv.*|socket|bind|connect|listen|accept|getaddrinfo|gethostby.*|if_.*|getifaddrs"
banned="$banned|open|open64|openat|creat|read|write|close|unlink|rename|stat|fopen|fopen64|fdopen|fread|fwrite|fflush"
banned="$banned|f?printf|v?f?printf|__v?f?printf_chk|puts|fputs|fputc|putchar|putc|perror|stdout|stderr|syslog"
banned="$banned|s?rand.*|random|drand48|arc4random.*|getrandom|getentropy|RAND_.*|getenv|setenv|system|fork|exec.*|signal|sigaction"
banned="$banned|pthread.*|thrd_.*|mtx_.*|MQTT.*|sqlite3_.*|ares_.*|log_print|clock_mono_us|clock_unix_us"
banned="$banned|re_f?printf|re_v?f?printf|dbg_.*|re_main|fd_listen|tmr_.*|rand_.*|udp_.*|tcp_.*|tls_.*|dns.*|sys_.*|net_.*|mqueue_.*"
found=$(printf '%s\n' "$symbols" | grep -xE "($banned)" || true)
if [ -n "$found" ]; then
	echo "$1 is not pure, it needs:" $found
	exit 1
fi
[ -n "$symbols" ] || { echo "$1: no symbols read"; exit 1; }
