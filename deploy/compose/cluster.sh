#!/usr/bin/env bash
# The cluster on this machine; README.md says what can be set.
#   cluster.sh build | up | scale | status | follow | ps | logs SERVICE | export FOLDER | stop | down
#   cluster.sh certificates | enroll AGENT [FILE] | operator NAME ROLE | alignfed COMMAND...
set -euo pipefail
called_from=$PWD
cd "$(dirname "$0")"

# What .env sets, unless the environment says otherwise: compose reads the file in the same way.
setting() {
    local from_file=
    [ ! -f .env ] || from_file=$(sed -n "s/^$1=//p" .env | tail -n 1)
    printf '%s' "${!1:-${from_file:-$2}}"
}

COMPOSE_PROJECT_NAME=$(setting COMPOSE_PROJECT_NAME alignfed)
COMPOSE_PROFILES=$(setting COMPOSE_PROFILES local,observability)
ALIGNFED_AGENTS=${AGENTS:-$(setting ALIGNFED_AGENTS 4)}
ALIGNFED_FEDERATION=$(setting ALIGNFED_FEDERATION demo)
export COMPOSE_PROJECT_NAME COMPOSE_PROFILES ALIGNFED_AGENTS
[ "$(id -u)" = 0 ] && group=10001 || group=$(id -g)
ALIGNFED_SECRETS_GROUP=$(setting ALIGNFED_SECRETS_GROUP "$group")
export ALIGNFED_SECRETS_GROUP
SECRETS=$(setting ALIGNFED_SECRETS_DIR ./secrets)
# With the profile `ha` the store is reached through its Sentinels.
if [[ ",$COMPOSE_PROFILES," == *,ha,* ]]; then
    export ALIGNFED_STORE_ROLE=primary
    sentinels=sentinel-1:26379,sentinel-2:26379,sentinel-3:26379
    ALIGNFED_STORE_URL=$(setting ALIGNFED_STORE_URL "redis+sentinel://$sentinels/alignfed?password_file=/run/secrets/store_password&wait_replicas=1")
    export ALIGNFED_STORE_URL
fi

fail() {
    echo "$*" >&2
    exit 1
}

docker version >/dev/null 2>&1 || fail "no Docker engine answers: start one, or name one with DOCKER_HOST"
if docker compose version >/dev/null 2>&1; then
    compose() { docker compose "$@"; }
elif command -v docker-compose >/dev/null; then
    compose() { docker-compose "$@"; }
else
    fail "neither 'docker compose' nor docker-compose is installed: see https://docs.docker.com/compose/install"
fi

# Half of the agents are fast, a quarter medium, a quarter slow.
scale() {
    local fast=0 medium=0 slow=0 number
    [[ "$ALIGNFED_AGENTS" =~ ^[0-9]+$ ]] || fail "AGENTS=$ALIGNFED_AGENTS is not a number"
    for ((number = 0; number < ALIGNFED_AGENTS; number++)); do
        case $((number % 4)) in
            0 | 3) fast=$((fast + 1)) ;;
            1) medium=$((medium + 1)) ;;
            2) slow=$((slow + 1)) ;;
        esac
    done
    SCALE=()
    if [[ ",$COMPOSE_PROFILES," == *,local,* ]]; then
        SCALE+=(--scale "agent-fast=$fast" --scale "agent-medium=$medium" --scale "agent-slow=$slow")
    fi
}

# A container's user is nobody on this machine and reads the files as a member of their group.
make_secrets() {
    local name
    mkdir -p "$SECRETS"
    chmod 700 "$SECRETS"
    for name in store_password status_token grafana_password; do
        [ -s "$SECRETS/$name" ] || (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "$SECRETS/$name")
        chmod 440 "$SECRETS/$name"
        [ "$(id -u)" != 0 ] || chgrp "$ALIGNFED_SECRETS_GROUP" "$SECRETS/$name"
    done
}

# The authorities are in identity/, this machine's user's alone, and no container that keeps running sees that folder. `ca`
# runs `alignfed ca` in one that is gone afterwards and has no network; files go in and out through pipes.
ca() {
    local draft="$SECRETS/.identity"
    rm -rf "$draft"
    mkdir -p "$SECRETS/identity"
    chmod 700 "$SECRETS/identity"
    tar -C "$SECRETS" -cf - identity | docker run --rm -i --network none --read-only --tmpfs /tmp --cap-drop ALL \
        --security-opt no-new-privileges:true --entrypoint sh "$(coordinator_image)" -c \
        'tar -C /tmp --no-same-owner -xf - && words=$1 && shift && alignfed ca "$words" /tmp/identity "$@" >/dev/null \
            && tar -C /tmp -cf - identity' sh "$@" > "$SECRETS/.identity.tar"
    mkdir -m 700 "$draft"
    tar -C "$draft" --no-same-owner -xf "$SECRETS/.identity.tar"
    rm -rf "$SECRETS/.identity.tar" "$SECRETS/.identity.old"
    mv "$SECRETS/identity" "$SECRETS/.identity.old"
    mv "$draft/identity" "$SECRETS/identity"
    rm -rf "$draft" "$SECRETS/.identity.old"
}

coordinator_image() {
    echo "$(setting ALIGNFED_IMAGE_PREFIX alignfed)/coordinator:$(setting ALIGNFED_TAG 0.1.0)"
}

# What callers here and elsewhere dial: the names of the services, this machine, and ALIGNFED_HOSTS.
hosts() {
    local name
    HOSTS=()
    for name in gateway operators localhost 127.0.0.1 $(setting ALIGNFED_HOSTS ''); do
        HOSTS+=(--host "$name")
    done
}

# Hand NAMES of the authorities' folder to containers, in FOLDER: replaced one by one, keys before their certificates, so
# that a coordinator that reads them meanwhile waits for the second.
hand_out() {
    local folder="$SECRETS/$1" name target
    shift
    mkdir -p "$folder"
    chmod 750 "$folder"
    [ "$(id -u)" != 0 ] || chgrp "$ALIGNFED_SECRETS_GROUP" "$folder"
    for name in "$@"; do
        target="$folder/$(basename "$name")"
        cmp -s "$SECRETS/identity/$name" "$target" && continue
        (umask 077 && cp "$SECRETS/identity/$name" "$target.new")
        chmod 440 "$target.new"
        [ "$(id -u)" != 0 ] || chgrp "$ALIGNFED_SECRETS_GROUP" "$target.new"
        mv -f "$target.new" "$target"
    done
}

hand_out_all() {
    hand_out coordinator root.pem agents-key.pem agents.pem coordinator-key.pem coordinator.pem
    hand_out operator root.pem operators/admin-key.pem operators/admin.pem
}

make_identities() {
    hosts
    [ -s "$SECRETS/identity/root.pem" ] || ca init "${HOSTS[@]}"
    hand_out_all
}

# One service per image; the services that share one would only build it again.
build() {
    local services=(coordinator-1 worker)
    [[ ",$COMPOSE_PROFILES," != *,local,* ]] || services+=(agent-fast setup)
    compose build "${services[@]}"
}

run_setup_command() {
    compose run --rm --no-deps --entrypoint alignfed setup "$@"
}

# On which port of this machine something is published.
port() {
    local bind
    bind=$(setting "ALIGNFED_$1_BIND" "127.0.0.1:$2")
    echo "${bind##*:}"
}

say_where() {
    local page grafana prometheus
    page=$(setting ALIGNFED_PAGE_BIND 127.0.0.1:9464)
    grafana=$(setting ALIGNFED_GRAFANA_BIND 127.0.0.1:3000)
    prometheus=$(setting ALIGNFED_PROMETHEUS_BIND 127.0.0.1:9090)
    echo
    echo "The cluster runs: $ALIGNFED_AGENTS agents, federation $ALIGNFED_FEDERATION."
    echo "  status page   http://$page/  (to sign in: deploy/compose/${SECRETS#./}/status_token)"
    if [[ ",$COMPOSE_PROFILES," == *,observability,* ]]; then
        echo "  Grafana       http://$grafana/  (user admin, password in deploy/compose/${SECRETS#./}/grafana_password)"
    fi
    if [[ ",$COMPOSE_PROFILES," =~ ,(observability|prometheus), ]]; then
        echo "  Prometheus    http://$prometheus/"
    fi
    echo "  operators     127.0.0.1:7301 and deploy/compose/${SECRETS#./}/operator: cluster.sh alignfed COMMAND, or see README.md"
    echo "  follow        deploy/compose/cluster.sh follow"
    echo "  how it does   deploy/compose/cluster.sh status"
    echo "  adapter       deploy/compose/cluster.sh export ./adapter"
    echo "  more agents   make cluster-scale AGENTS=8"
    echo "  stop          make cluster-stop (keeps everything), make cluster-down (removes everything)"
}

case "${1:-}" in
    build)
        make_secrets # compose insists on the files
        build
        ;;
    up)
        scale
        make_secrets
        [ "${BUILD:-1}" = 0 ] || build
        make_identities
        if ! compose up -d "${SCALE[@]}"; then
            compose logs --tail=20 setup
            fail "the cluster is not complete: see above; what runs can be seen with cluster.sh ps, and its log with cluster.sh logs SERVICE"
        fi
        say_where
        ;;
    scale)
        scale
        make_identities
        compose up -d --no-recreate "${SCALE[@]}"
        ;;
    status)
        compose ps
        run_setup_command status "$ALIGNFED_FEDERATION"
        ;;
    alignfed)
        shift
        run_setup_command "$@"
        ;;
    certificates)
        [ -s "$SECRETS/identity/root.pem" ] || fail "there are no authorities yet: cluster.sh up makes them"
        hosts
        ca server "${HOSTS[@]}"
        ca operator admin --role admin
        hand_out_all
        echo "coordinators take up the new certificate by themselves; other operators: cluster.sh operator NAME ROLE"
        ;;
    operator)
        [ $# = 3 ] || fail "name the operator and viewer, operator or admin: cluster.sh operator ann viewer"
        ca operator "$2" --role "$3"
        echo "hand over from deploy/compose/${SECRETS#./}/identity: root.pem, operators/$2.pem, operators/$2-key.pem"
        ;;
    enroll)
        [ -n "${2:-}" ] || fail "name the agent: cluster.sh enroll jetson-7, or 'site-a-*' for several with USES=20"
        reached=$(setting ALIGNFED_HOSTS '')
        [ -n "$reached" ] || fail "set ALIGNFED_HOSTS to the name under which agents reach this machine, then: cluster.sh certificates"
        file=$(cd "$called_from" && realpath -m "${3:-${2//\*/}.join}")
        [ ! -e "$file" ] || fail "$file is there already: name another file"
        (umask 077 && compose run --rm -T --no-deps --entrypoint alignfed setup enroll "$2" \
            --federation "$ALIGNFED_FEDERATION" --uses "${USES:-1}" \
            --coordinator "${reached%% *}:$(port AGENTS 7300)" --join "${reached%% *}:$(port JOIN 7302)" > "$file") \
            || { rm -f "$file"; exit 1; }
        echo "the token is in $file: there, alignfed-agent join --token-file $(basename "$file")"
        ;;
    ps | logs) compose "$@" ;;
    follow) compose logs -f --tail=20 worker ;;
    export)
        [ -n "${2:-}" ] || fail "name a folder: cluster.sh export ./adapter"
        folder=$(cd "$called_from" && realpath -m "$2")
        [ ! -e "$folder" ] || fail "$folder is there already: name another folder"
        mkdir -p "$(dirname "$folder")"
        # through a pipe, because the container's user may not write here
        compose run --rm -T --no-deps --entrypoint sh setup -c \
            "alignfed export '$ALIGNFED_FEDERATION' /tmp/adapter >&2 && tar -C /tmp -cf - adapter" > "$folder.tar"
        mkdir "$folder"
        tar -C "$folder" --strip-components=1 -xf "$folder.tar"
        rm "$folder.tar"
        echo "the newest adapter is in $folder"
        ;;
    stop) compose stop ;;
    down)
        make_secrets
        # every profile, so that nothing is forgotten that another call has started
        COMPOSE_PROFILES=local,observability,ha compose down --volumes --remove-orphans
        ;;
    *) fail "usage: cluster.sh build | up | scale | status | follow | ps | logs SERVICE | export FOLDER | stop | down
       cluster.sh certificates | enroll AGENT [FILE] | operator NAME ROLE | alignfed COMMAND..." ;;
esac
