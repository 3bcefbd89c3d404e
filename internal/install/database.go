package install

import (
	"fmt"
	"net/url"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"slipway.dev/slipway/internal/platform"
)

// setDatabase says to the core where its database is.
func (p *plan) setDatabase(cfg *platform.Config) {
	cfg.Database = p.Database.URL
	if p.Database.Bundled() {
		u := url.URL{
			Scheme: "postgres", User: url.User("slipway"), Host: nameDatabase + "." + p.Namespace + ".svc:5432", Path: "/slipway",
			RawQuery: url.Values{"sslmode": {"verify-full"}, "sslrootcert": {identityDir + "/" + platform.IdentityCA}}.Encode(),
		}
		cfg.Database = u.String()
	}
	if p.Database.Bundled() || p.Database.PasswordFile != "" {
		cfg.DatabasePasswordFile = secretsDir + "/" + keyPassword
	}
}

func (p *plan) setBucket(cfg *platform.Config) {
	if p.S3.Bucket == "" {
		return
	}
	cfg.Registry.S3 = platform.S3{Bucket: p.S3.Bucket, Region: p.S3.Region, Endpoint: p.S3.Endpoint, Prefix: p.S3.Prefix}
	if p.S3.AccessKeyFile != "" {
		cfg.Registry.S3.AccessKeyFile, cfg.Registry.S3.SecretKeyFile = secretsDir+"/"+keyAccess, secretsDir+"/"+keySecret
	}
}

const databaseData = "/var/lib/postgresql/data"

// databaseStart runs any image that has PostgreSQL and a shell: what the images
// do by themselves differs, and most of it needs root.
const databaseStart = `set -eu
for d in /usr/lib/postgresql/*/bin; do PATH="$PATH:$d"; done
umask 077
data=` + databaseData + `/pgdata
if [ ! -s "$data/PG_VERSION" ]; then
	rm -rf "$data.new"
	initdb -D "$data.new" -U slipway --pwfile=/etc/slipway/secrets/password --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
	echo 'CREATE DATABASE slipway;' | postgres --single -D "$data.new" postgres
	printf 'local all all trust\nhostssl all all all scram-sha-256\n' >"$data.new/pg_hba.conf"
	mv "$data.new" "$data" # a start that was cut off begins anew
fi
exec postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp \
	-c ssl=on -c ssl_cert_file=/etc/slipway/identity/tls.crt -c ssl_key_file=/etc/slipway/identity/tls.key
`

// databasePasswd makes our user one that PostgreSQL finds: initdb refuses an
// id without a name.
var databasePasswd = fmt.Sprintf("root:x:0:0::/:/bin/sh\npostgres:x:%d:%d::/tmp:/bin/sh\n", user, user)

// database is one PostgreSQL in a pod, for whoever has none.
func (p *plan) database() []object {
	c := corev1.Container{
		Name: "postgres", Image: p.Database.Image, Command: []string{"/bin/sh", "/etc/slipway/start/start.sh"},
		Ports: []corev1.ContainerPort{port("postgres", "5432")}, Resources: needs("100m", "256Mi", "1Gi"),
		// PostgreSQL takes TERM as "when the last client has gone", and the core does not go.
		Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/sh", "-c", "kill -INT 1"}}}},
	}
	ask := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{
		"/bin/sh", "-c",
		`for d in /usr/lib/postgresql/*/bin; do PATH="$PATH:$d"; done; exec pg_isready -q -h /tmp -U slipway`,
	}}}
	c.StartupProbe = &corev1.Probe{ProbeHandler: ask, PeriodSeconds: 1, FailureThreshold: 300, TimeoutSeconds: 5}
	c.ReadinessProbe = &corev1.Probe{ProbeHandler: ask, PeriodSeconds: 5, FailureThreshold: 3, TimeoutSeconds: 5}
	spec := p.pod(partDatabase, c)
	spec.TerminationGracePeriodSeconds = ptr(int64(60))
	spec.ServiceAccountName = "slipway-" + partDatabase
	volumes(&spec,
		fromSecret("password", secretsDir, secretDatabase), fromSecret("identity", identityDir, secretDatabaseIdentity),
		fromConfig("start", "/etc/slipway/start", nameDatabase), empty("tmp", "/tmp"))
	passwd := fromConfig("passwd", "/etc/passwd", nameDatabase)
	passwd.sub = "passwd"
	volumes(&spec, passwd)
	spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "data", MountPath: databaseData})
	claim := p.claim(partDatabase, "data", p.Database.Size)
	claim.TypeMeta, claim.Namespace = metav1.TypeMeta{}, ""
	service := p.service(partDatabase, nameDatabase, corev1.ServicePort{Name: "postgres", Port: 5432})
	service.Spec.ClusterIP = corev1.ClusterIPNone
	return []object{
		p.account(p.Namespace, partDatabase, false),
		&corev1.ConfigMap{
			TypeMeta: typeMeta("ConfigMap"), ObjectMeta: p.meta(partDatabase, nameDatabase),
			Data: map[string]string{"start.sh": databaseStart, "passwd": databasePasswd},
		},
		service,
		&appsv1.StatefulSet{
			TypeMeta: typeMeta("StatefulSet"), ObjectMeta: p.meta(partDatabase, nameDatabase),
			Spec: appsv1.StatefulSetSpec{
				Replicas: ptr(int32(1)), ServiceName: nameDatabase, Selector: &metav1.LabelSelector{MatchLabels: selector(partDatabase)},
				Template: p.template(partDatabase, "1", spec), VolumeClaimTemplates: []corev1.PersistentVolumeClaim{*claim},
				RevisionHistoryLimit: ptr(int32(3)),
			},
		},
	}
}
