{{/* What a service is told that is no secret: names and values, only those that it knows. Of: root, service. */}}
{{- define "docqa.config" -}}
{{- $values := .root.Values -}}
{{- $service := .service -}}
{{- $config := dict
      "DOCQA_HOST" "0.0.0.0"
      (printf "DOCQA_%s_PORT" (upper $service)) "8000"
      "DOCQA_KAFKA" $values.kafka.bootstrapServers
      "DOCQA_AUTH_URL" (include "docqa.url" (dict "root" .root "service" "auth")) -}}
{{- if ne $values.kafka.security "PLAINTEXT" }}{{ $_ := set $config "DOCQA_KAFKA_SECURITY" $values.kafka.security }}{{ end -}}
{{- with $values.kafka.saslMechanism }}{{ $_ := set $config "DOCQA_KAFKA_SASL_MECHANISM" . }}{{ end -}}
{{- if $values.kafka.caSecret -}}
{{- $_ := set $config "DOCQA_KAFKA_CA_FILE" (printf "%s/ca.crt" (include "docqa.kafkaCaFolder" .root)) -}}
{{- end -}}
{{- if eq $service "gateway" -}}
{{- $_ := set $config "DOCQA_GATEWAY_QA_URL" (include "docqa.url" (dict "root" .root "service" "qa")) -}}
{{- $_ := set $config "DOCQA_GATEWAY_INGEST_URL" (include "docqa.url" (dict "root" .root "service" "ingest")) -}}
{{- end -}}
{{- if ne $service "auth" -}}
{{- $_ := set $config "DOCQA_OBJECT_STORE" (printf "s3://%s" $values.s3.bucket) -}}
{{- $_ := set $config "DOCQA_S3_ENDPOINT" $values.s3.endpoint -}}
{{- $_ := set $config "DOCQA_S3_REGION" $values.s3.region -}}
{{- $_ := set $config "DOCQA_S3_SECURE" $values.s3.tls -}}
{{- end -}}
{{- if has $service (list "gateway" "embedder" "qa") -}}
{{- $_ := set $config "DOCQA_EMBEDDING_MODEL" $values.models.embedding -}}
{{- end -}}
{{- if has $service (list "gateway" "qa") -}}
{{- $_ := set $config "DOCQA_CHAT_MODEL" $values.models.chat -}}
{{- end -}}
{{- if has $service (list "embedder" "qa") -}}
{{- $_ := set $config "DOCQA_CHROMA_URL" $values.chroma.url -}}
{{- with $values.models.openaiBaseUrl }}{{ $_ := set $config "DOCQA_OPENAI_BASE_URL" . }}{{ end -}}
{{- with $values.models.googleBaseUrl }}{{ $_ := set $config "DOCQA_GOOGLE_BASE_URL" . }}{{ end -}}
{{- $config = mergeOverwrite $config (deepCopy $values.models.settings) -}}
{{- end -}}
{{- $config = mergeOverwrite $config (deepCopy $values.settings) (deepCopy (index $values.services $service).settings) -}}
{{- range $name, $value := $config }}
{{ $name }}: {{ include "docqa.text" $value | quote }}
{{- end }}
{{- end }}

{{- define "docqa.kafkaCaFolder" -}}
/etc/docqa/kafka
{{- end }}

{{/* Whether Kafka wants a user and a password: "true" or nothing. */}}
{{- define "docqa.kafkaSasl" -}}
{{- if hasPrefix "SASL_" .Values.kafka.security }}true{{ end -}}
{{- end }}

{{/* Whether it is reached over TLS. */}}
{{- define "docqa.kafkaTls" -}}
{{- if hasSuffix "SSL" .Values.kafka.security }}true{{ end -}}
{{- end }}

{{/* A value as the environment has it. Helm reads whole numbers as floating ones: 52428800 would become 5.24288e+07. */}}
{{- define "docqa.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* The keys of the secrets that a service reads, the first of which it cannot do without. Of: root, service. */}}
{{- define "docqa.secretKeys" -}}
keys:
  - {{ printf "DOCQA_%s_DATABASE_URL" (upper .service) }}
  {{- if ne .service "auth" }}
  - DOCQA_S3_ACCESS_KEY
  - DOCQA_S3_SECRET_KEY
  {{- end }}
  {{- if include "docqa.kafkaSasl" .root }}
  - DOCQA_KAFKA_USERNAME
  - DOCQA_KAFKA_PASSWORD
  {{- end }}
  {{- range $provider, $key := dict "openai" "DOCQA_OPENAI_API_KEY" "google_genai" "DOCQA_GOOGLE_API_KEY" }}
  {{- if include "docqa.asks" (dict "root" $.root "service" $.service "provider" $provider) }}
  - {{ $key }}
  {{- end }}
  {{- end }}
  {{- if eq .service "embedder" }}
  - DOCQA_OPERATOR_TOKEN
  {{- end }}
{{- end }}

{{/* Whether a service calls models of a provider: "true" or nothing. Of: root, service, provider. */}}
{{- define "docqa.asks" -}}
{{- $models := .root.Values.models -}}
{{- $used := list -}}
{{- if has .service (list "embedder" "qa") }}{{ $used = append $used $models.embedding }}{{ end -}}
{{- if eq .service "qa" }}{{ $used = append $used $models.chat }}{{ end -}}
{{- $provider := .provider -}}
{{- $asked := false -}}
{{- range $used }}{{ if hasPrefix (printf "%s:" $provider) . }}{{ $asked = true }}{{ end }}{{ end -}}
{{- if $asked }}true{{ end -}}
{{- end }}

{{/* What a Secret that is made here holds of them. Of: root, service. */}}
{{- define "docqa.secretData" -}}
{{- $secrets := .root.Values.secrets -}}
{{- $known := dict
      (printf "DOCQA_%s_DATABASE_URL" (upper .service)) (include "docqa.databaseUrl" .)
      "DOCQA_S3_ACCESS_KEY" $secrets.s3AccessKey
      "DOCQA_S3_SECRET_KEY" $secrets.s3SecretKey
      "DOCQA_KAFKA_USERNAME" $secrets.kafkaUsername
      "DOCQA_KAFKA_PASSWORD" $secrets.kafkaPassword
      "DOCQA_OPENAI_API_KEY" $secrets.openaiApiKey
      "DOCQA_GOOGLE_API_KEY" $secrets.googleApiKey
      "DOCQA_OPERATOR_TOKEN" $secrets.operatorToken -}}
{{- range $key := (include "docqa.secretKeys" . | fromYaml).keys }}
{{- with get $known $key }}
{{ $key }}: {{ quote . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The service's own database, as SQLAlchemy writes it. Of: root, service. */}}
{{- define "docqa.databaseUrl" -}}
postgresql+asyncpg://{{ include "docqa.databaseAddress" . }}?ssl={{ .root.Values.postgres.tls }}
{{- end }}

{{/* The same for KEDA, whose client is one of Go's. Of: root, service. */}}
{{- define "docqa.kedaUrl" -}}
postgresql://{{ include "docqa.databaseAddress" . }}?sslmode={{ .root.Values.postgres.tls }}
{{- end }}

{{- define "docqa.kedaKey" -}}
{{ printf "KEDA_%s_DATABASE_URL" (upper .service) }}
{{- end }}

{{- define "docqa.databaseAddress" -}}
{{- $database := (index .root.Values.services .service).database -}}
{{- $user := $database.user | default .service | urlquery | replace "+" "%20" -}}
{{- $password := $database.password | urlquery | replace "+" "%20" -}}
{{ $user }}{{ with $password }}:{{ . }}{{ end }}@{{ include "docqa.databaseHost" . }}/{{ $database.name | default .service }}
{{- end }}

{{/* host:port. Of: root, service. */}}
{{- define "docqa.databaseHost" -}}
{{- $database := (index .root.Values.services .service).database -}}
{{ $database.host | default .root.Values.postgres.host }}:{{ $database.port | default .root.Values.postgres.port }}
{{- end }}
