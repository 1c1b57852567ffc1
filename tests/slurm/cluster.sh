#!/usr/bin/env bash
# A real SLURM of one node, for tests, from Debian's packages: 2 CPUs, a GPU that is none, 4 shards of it, no accounting.
#
#   cluster.sh start     install what is missing, configure, start the daemons, wait until a job runs
#   cluster.sh restart   end the controller alone and start it again, as after a crash
#   cluster.sh stop      end the daemons that `start` has started, and nothing else
# Exit code 3: this machine cannot have one.
#
# Everything is kept in SLURM_TEST_DIR (default /var/tmp/sgdnoise-slurm). Clients and jobs look for the configuration in
# /etc/slurm: links are made there, unless a cluster is configured already, and taken away by `stop`.
set -euo pipefail
export PATH=$PATH:/usr/sbin
DIR=${SLURM_TEST_DIR:-/var/tmp/sgdnoise-slurm}
export SLURM_CONF=$DIR/slurm.conf
HOST=$(hostname -s)

fail() {
    echo "cluster.sh: $*" >&2
    tail -n 5 "$DIR"/*.log >&2 || true
    exit 1
}

cannot() { # the tests are skipped
    echo "cluster.sh: $*" >&2
    exit 3
}

wait_until() { # command..., for up to a minute
    for _ in $(seq 300); do
        "$@" >"$DIR/wait.log" 2>&1 && return
        sleep 0.2
    done
    fail "not after a minute: $*"
}

alive() { # daemon: is the process that we recorded still that program?
    [ -s "$DIR/$1.pid" ] && [ "$(cat "/proc/$(cat "$DIR/$1.pid")/comm" 2>/dev/null)" = "$1" ]
}

launch() { # daemon arguments...: in the foreground of a session of its own
    alive "$1" && return
    setsid "$@" </dev/null >>"$DIR/$1.log" 2>&1 &
    echo $! >"$DIR/$1.pid"
}

end() { # daemon
    alive "$1" || return 0
    local pid
    pid=$(cat "$DIR/$1.pid")
    kill "$pid"
    for _ in $(seq 50); do
        alive "$1" || break
        sleep 0.2
    done
    alive "$1" && kill -9 "$pid"
    rm -f "$DIR/$1.pid"
}

install() {
    local missing=0 program
    for program in slurmctld slurmd munged srun; do command -v $program >/dev/null || missing=1; done
    [ $missing = 1 ] || return 0
    export DEBIAN_FRONTEND=noninteractive
    # The packages would start daemons of their own: forbid it while they are installed.
    local policy=/usr/sbin/policy-rc.d
    [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && trap "rm -f $policy" EXIT; }
    apt-get update -qq && apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge
} >"$DIR/apt.log" 2>&1

configure() { # without the jobs of an earlier, killed cluster
    rm -rf "$DIR/state" "$DIR/spool"
    mkdir -p "$DIR/state" "$DIR/spool" "$DIR/munge"
    chmod 700 "$DIR/munge"
    [ -s "$DIR/munge/key" ] || (umask 077 && head -c 1024 /dev/urandom >"$DIR/munge/key")
    # slurmd wants a device file per GPU; any character device serves.
    [ -e "$DIR/gpu0" ] || mknod "$DIR/gpu0" c 1 3
    cat >"$DIR/gres.conf" <<END
NodeName=$HOST Name=gpu Type=fake File=$DIR/gpu0
NodeName=$HOST Name=shard Count=4 File=$DIR/gpu0
END
    cat >"$SLURM_CONF" <<END
ClusterName=sgdnoise
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$DIR/munge.socket
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool
SlurmctldPidFile=$DIR/slurmctld.own.pid
SlurmdPidFile=$DIR/slurmd.own.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=2,sched_min_interval=0,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
MaxJobCount=20000
MinJobAge=300
KillWait=10
JobRequeue=0
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
GresTypes=gpu,shard
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000 Gres=gpu:fake:1,shard:4
PartitionName=main Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
END
}

link() { # the clients' configuration; another cluster's is left alone
    mkdir -p /etc/slurm
    for file in slurm.conf gres.conf; do
        [ ! -e /etc/slurm/$file ] || [ "$(readlink /etc/slurm/$file)" = "$DIR/$file" ] ||
            cannot "/etc/slurm/$file belongs to another cluster"
        ln -sfn "$DIR/$file" /etc/slurm/$file
    done
}

unlink_ours() { # a configuration without its controller makes every start of snakemake ten seconds slower
    for file in slurm.conf gres.conf; do
        [ "$(readlink /etc/slurm/$file)" != "$DIR/$file" ] || rm /etc/slurm/$file
    done
}

controller() {
    launch slurmctld -D -i -f "$SLURM_CONF"
    wait_until sh -c 'scontrol ping | grep -q UP'
}

case ${1:-} in
start)
    [ "$(id -u)" = 0 ] || cannot "SLURM is installed and started by root; you are not"
    mkdir -p "$DIR"
    install || cannot "SLURM's packages cannot be installed: $(tail -n 1 "$DIR/apt.log")"
    alive slurmctld || configure
    link
    launch munged --foreground --force --socket="$DIR/munge.socket" --key-file="$DIR/munge/key" \
        --pid-file="$DIR/munge/pid" --seed-file="$DIR/munge/seed" --log-file="$DIR/munge/log"
    wait_until munge -S "$DIR/munge.socket" -n
    controller
    launch slurmd -D -N "$HOST" -f "$SLURM_CONF"
    wait_until srun --ntasks=1 --mem=50 --time=1 true
    ;;
restart)
    end slurmctld
    controller
    ;;
stop)
    alive slurmctld && scancel --user=root --partition=main || true
    for daemon in slurmd slurmctld munged; do end $daemon; done
    unlink_ours
    rm -rf "$DIR"/{state,spool,munge,gpu0,*.conf} # the logs stay
    ;;
*)
    sed -n 's/^# \{0,1\}//p' "$0" | sed -n 2,11p
    exit 2
    ;;
esac
