{{/* Whether KEDA scales a service on its backlog: "true" or nothing. Of: root, service. */}}
{{- define "docqa.backlogScaled" -}}
{{- $service := index .root.Values.services .service -}}
{{- if and .root.Values.keda.enabled $service.autoscaling.enabled (has .service (list "ingest" "embedder")) }}true{{ end -}}
{{- end }}

{{/* What ingest and the embedder are for. Erasing and looking again cost next to nothing, and never need a replica more. */}}
{{- define "docqa.kinds" -}}
{{ eq .service "ingest" | ternary "'parse'" "'embed', 'rebuild'" }}
{{- end }}

{{/*
How many jobs are due: those that wait and may begin, not those that back off until later, and those that somebody is doing.
If these were left out, the last ones of a backlog would count as none while every replica is still busy with them.
Counted apart, each is answered by a partial index: the finished jobs of a week are never read. Of: service.
*/}}
{{- define "docqa.dueJobs" -}}
{{- $kinds := include "docqa.kinds" . -}}
SELECT (SELECT count(*) FROM jobs WHERE kind IN ({{ $kinds }}) AND state = 'waiting' AND available_at <= now())
{{- printf " + (SELECT count(*) FROM jobs WHERE kind IN (%s) AND state = 'running')" $kinds }}
{{- end }}

{{/* How fast replicas come and go. Of: scaling. */}}
{{- define "docqa.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: {{ .up.stabilizationSeconds }}
  selectPolicy: Max
  policies:
    - {type: Percent, value: {{ .up.percent }}, periodSeconds: 60}
    - {type: Pods, value: {{ .up.pods }}, periodSeconds: 60}
scaleDown:
  stabilizationWindowSeconds: {{ .down.stabilizationSeconds }}
  policies:
    - {type: Pods, value: {{ .down.pods }}, periodSeconds: 60}
{{- end }}
