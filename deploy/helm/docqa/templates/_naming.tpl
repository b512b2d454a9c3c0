{{/* In front of every name. Room is left for the longest end, "-embedder-migrate". */}}
{{- define "docqa.fullname" -}}
{{- $name := .Values.fullnameOverride | default (contains "docqa" .Release.Name | ternary .Release.Name (printf "%s-docqa" .Release.Name)) -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "docqa.services" -}}
services: [gateway, auth, ingest, embedder, qa]
{{- end }}

{{/* What a pod is found by; these never change. Of: root, component. */}}
{{- define "docqa.selector" -}}
app.kubernetes.io/name: docqa
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* Of: root, component. */}}
{{- define "docqa.labels" -}}
{{ include "docqa.selector" . }}
app.kubernetes.io/part-of: docqa
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Without what changes with the chart alone: new labels would be new pods. Of: root, component. */}}
{{- define "docqa.podLabels" -}}
{{- with .root.Values.pods.labels }}{{ toYaml . }}
{{ end }}
{{- include "docqa.selector" . }}
app.kubernetes.io/part-of: docqa
{{- end }}

{{/* Of: root, service. */}}
{{- define "docqa.image" -}}
{{- $image := .root.Values.image -}}
{{- with $image.registry }}{{ trimSuffix "/" . }}/{{ end }}docqa-{{ .service }}
{{- with (index .root.Values.services .service).digest }}@{{ . }}{{ else }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* http://… of another service of ours. Of: root, service. */}}
{{- define "docqa.url" -}}
http://{{ include "docqa.fullname" .root }}-{{ .service }}:{{ include "docqa.port" . }}
{{- end }}

{{/* The port of a service's Service. Of: root, service. */}}
{{- define "docqa.port" -}}
{{ eq .service "gateway" | ternary .root.Values.service.port 8000 }}
{{- end }}

{{/* The Secret that a service reads: named in the values, or made here. Of: root, service. */}}
{{- define "docqa.secretName" -}}
{{ include "docqa.existingSecret" . | default (printf "%s-%s" (include "docqa.fullname" .root) .service) }}
{{- end }}

{{- define "docqa.existingSecret" -}}
{{ (index .root.Values.services .service).existingSecret | default .root.Values.secrets.existingSecret }}
{{- end }}
