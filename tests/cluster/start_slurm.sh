#!/usr/bin/env bash
# Bring up a private SLURM cluster on loopback, without systemd, in one directory.
# Idempotent: a second call while it is up does nothing and exits 0.
# Prints nothing on stdout but the line to eval:  export SLURM_CONF=...
#
#   SLURM_FARM_DIR    state, logs, pid files        (default slurm-farm-<uid>)
#   SLURM_FARM_NODES  number of slurmd              (default 2)
#   SLURM_FARM_CPUS   CPUs each node advertises     (default 2)
#   SLURM_FARM_MEM    MiB each node advertises      (default 8000)
#   SLURM_FARM_GPUS   fake GPUs each node advertises(default 2)
#   SLURM_FARM_ACCT   none | slurmdbd               (default slurmdbd if installed)
#   SLURM_FARM_PORT   first of the ports used       (default: the first free range from 26817 on)
#   SLURM_FARM_ARRAY  MaxArraySize                  (default 1001, SLURM's own)
#   SLURM_FARM_KILLWAIT, SLURM_FARM_DEAD  seconds from SIGTERM to SIGKILL; until a silent node is down (default 3, 10)
set -euo pipefail
umask 022

dir=${SLURM_FARM_DIR:-${TMPDIR:-/tmp}/slurm-farm-$(id -u)}
nodes=${SLURM_FARM_NODES:-2}
cpus=${SLURM_FARM_CPUS:-2}
mem=${SLURM_FARM_MEM:-8000}
gpus=${SLURM_FARM_GPUS:-2}
array=${SLURM_FARM_ARRAY:-1001}
killwait=${SLURM_FARM_KILLWAIT:-3}
dead=${SLURM_FARM_DEAD:-10}
user=$(id -un)
export PATH=$PATH:/usr/sbin:/sbin
if [ -n "${SLURM_FARM_ACCT:-}" ]; then acct=$SLURM_FARM_ACCT
elif command -v slurmdbd >/dev/null && command -v mariadbd >/dev/null; then acct=slurmdbd
else acct=none; fi

say() { echo "start_slurm: $*" >&2; }
# the pid file's process runs, is no zombie (PID 1 may reap late, and a zombie answers kill -0), and is the
# daemon the file is named for (a pid is used again after a reboot)
alive() {
  [ -s "$1" ] || return 1
  local n=${1##*/}; n=${n%%.*}
  case "$(ps -o stat=,comm= -p "$(cat "$1")" 2>/dev/null)" in Z*) return 1 ;; *" $n") return 0 ;; *) return 1 ;; esac
}
wait_for() { # seconds, what, command...
  local limit=$1 what=$2; shift 2
  local end=$((SECONDS + limit))
  until "$@" >/dev/null 2>&1; do
    if [ $SECONDS -ge $end ]; then say "gave up after ${limit}s waiting for $what"; return 1; fi
    sleep 0.1
  done
}

for c in munged slurmctld slurmd sbatch sinfo; do
  command -v $c >/dev/null || { say "$c is not installed"; exit 3; }
done
mkdir -p "$dir"/{state,spool,log,run}
chmod 755 "$dir" "$dir"/*        # munged refuses a group- or world-writable parent
export SLURM_CONF=$dir/slurm.conf

# ---- ports: kept with the farm, so that a second farm on the host takes others
taken() { local p; for p in "$1" $(($1 + 1)) $(($1 + 2)) $(seq $(($1 + 11)) $(($1 + 10 + nodes))); do
  (: < "/dev/tcp/127.0.0.1/$p") 2>/dev/null && return 0; done; return 1; }
if [ -n "${SLURM_FARM_PORT:-}" ]; then port=$SLURM_FARM_PORT
elif [ -s "$dir/run/port" ]; then port=$(cat "$dir/run/port")
else port=26817; while taken "$port"; do port=$((port + 100)); done; fi
echo "$port" > "$dir/run/port"

# SLURM's daemons find the address that they alone listen on by this machine's own name
getent hosts "$(hostname)" > /dev/null ||
  { echo "start_slurm: the hostname does not resolve: echo '127.0.0.1 $(hostname)' >> /etc/hosts" >&2; exit 1; }

# ---- configuration (written anew only when nothing runs on it)
if ! alive "$dir/run/slurmctld.pid"; then
  {
    cat <<CONF
ClusterName=farm
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.socket,cred_expire=5
EnforcePartLimits=ALL
# listen on 127.0.0.1 alone
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
# job ids grow from one farm to the next, as a person expects them to
FirstJobId=$(( $(date +%s) % 60000000 + 1 ))
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
SlurmctldDebug=info
SlurmdDebug=info
# no cgroups, no kernel features: runs in a container or a bare VM
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
SwitchType=switch/none
# several slurmd on one host, advertising what they are configured to
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
# tight timings, for tests
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=100000,bf_interval=1,batch_sched_delay=0,defer_batch
SlurmctldTimeout=10
SlurmdTimeout=$dead
MessageTimeout=5
TCPTimeout=2
InactiveLimit=0
KillWait=$killwait
MaxArraySize=$array
MinJobAge=600
OverTimeLimit=0
BatchStartTimeout=10
CompleteWait=0
ReturnToService=2
# preemption by partition: the job of the lower tier gets its --signal, then GraceTime, then requeue
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/log/jobcomp.log
CONF
    if [ "$acct" = slurmdbd ]; then cat <<CONF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 1))
AccountingStoragePass=$dir/run/munge.socket
AccountingStorageTRES=gres/gpu
CONF
    else echo "AccountingStorageType=accounting_storage/none"; fi
    names=()
    for i in $(seq 1 "$nodes"); do
      g=""; [ "$gpus" -gt 0 ] && g=" Gres=gpu:fake:$gpus"
      echo "NodeName=n$i NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + 10 + i)) CPUs=$cpus RealMemory=$mem$g State=UNKNOWN"
      names+=("n$i")
    done
    all=$(IFS=,; echo "${names[*]}")
    cat <<CONF
PartitionName=main Nodes=$all Default=YES MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=10 DefMemPerCPU=1000 GraceTime=0
PartitionName=short Nodes=$all MaxTime=1 DefaultTime=1 State=UP PriorityTier=10 DefMemPerCPU=1000
PartitionName=low Nodes=$all MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=10 DefMemPerCPU=1000
PartitionName=high Nodes=$all MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=100 PreemptMode=OFF DefMemPerCPU=1000
CONF
  } > "$dir/slurm.conf"
  # slurmd loads a cgroup plugin whatever the conf says, and dies where /sys/fs/cgroup is not mounted
  # unless one is named; nothing here uses it
  printf 'CgroupPlugin=cgroup/v1\nCgroupMountpoint=%s/run/cgroup\nConstrainCores=no\nConstrainDevices=no\nConstrainRAMSpace=no\n' "$dir" > "$dir/cgroup.conf"
  # fake GPUs: character devices that every Linux has, one file per GPU
  : > "$dir/gres.conf"
  if [ "$gpus" -gt 0 ]; then
    for i in $(seq 0 $((gpus - 1))); do
      [ -e "$dir/run/gpu$i" ] || ln -s /dev/null "$dir/run/gpu$i"
      echo "NodeName=$all Name=gpu Type=fake File=$dir/run/gpu$i" >> "$dir/gres.conf"
    done
  fi
  if [ "$acct" = slurmdbd ]; then
    ( umask 077; cat > "$dir/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.socket
DbdAddr=127.0.0.1
DbdHost=localhost
DbdPort=$((port + 1))
SlurmUser=$user
PidFile=$dir/run/slurmdbd.pid
LogFile=$dir/log/slurmdbd.log
DebugLevel=info
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm_acct_db
CONF
    )
  fi
fi

# ---- munge: own key, own socket. --force: it refuses a socket under a folder that others cannot enter
# (pytest's tmp_path is mode 700), and an origin whose hostname does not resolve is only a warning.
if ! alive "$dir/run/munged.pid"; then
  rm -f "$dir/run/munge.socket" "$dir/run/munge.socket.lock"
  [ -s "$dir/run/munge.key" ] || ( umask 077; head -c 1024 /dev/urandom > "$dir/run/munge.key" )
  munged --key-file="$dir/run/munge.key" --socket="$dir/run/munge.socket" \
         --pid-file="$dir/run/munged.pid" --log-file="$dir/log/munged.log" --seed-file="$dir/run/munge.seed" \
         --num-threads=4 --force 2>> "$dir/log/munged.start.log"
  wait_for 10 munged sh -c "munge -n -S '$dir/run/munge.socket' | unmunge -S '$dir/run/munge.socket'"
fi
export MUNGE_SOCKET=$dir/run/munge.socket

# ---- accounting
if [ "$acct" = slurmdbd ]; then
  . "$(dirname "$0")/start_accounting.sh"
fi

# ---- controller and nodes
if ! alive "$dir/run/slurmctld.pid"; then
  slurmctld -i
  wait_for 15 slurmctld scontrol ping
fi
for i in $(seq 1 "$nodes"); do
  alive "$dir/run/slurmd.n$i.pid" || { mkdir -p "$dir/spool/n$i"; slurmd -N "n$i"; }
done
# a node that never registered is listed as idle for a while: what tells is its slurmd's start time
registered() { [ "$(scontrol -o show node | grep -c 'SlurmdStartTime=[0-9]')" -eq "$nodes" ]; }
idle() { registered && [ "$(sinfo -h -p main -N -o '%N %T' | grep -c -E ' (idle|mixed|allocated|completing)$')" -eq "$nodes" ]; }
if ! wait_for 20 "$nodes nodes" idle; then
  scontrol update nodename=ALL state=resume >/dev/null 2>&1 || true
  wait_for 10 "$nodes nodes, resumed" idle || { sinfo -N -l >&2; tail -20 "$dir/log/slurmctld.log" >&2; exit 1; }
fi
say "up: $nodes nodes in $dir, accounting $acct, ${SECONDS}s"
echo "export SLURM_CONF=$dir/slurm.conf"
