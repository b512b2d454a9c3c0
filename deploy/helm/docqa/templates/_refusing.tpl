{{/* What a schema cannot see: values that contradict each other. */}}
{{- define "docqa.refuseNonsense" -}}
{{- if not (regexMatch "^[a-z][a-z0-9-]*$" (include "docqa.fullname" .)) -}}
{{- fail (printf "no Service may be named %s-gateway (a letter, then letters, digits and -): choose another name for the release, or set fullnameOverride" (include "docqa.fullname" .)) -}}
{{- end -}}
{{- $databases := dict -}}
{{- range $service := (include "docqa.services" . | fromYaml).services -}}
{{- $about := dict "root" $ "service" $service -}}
{{- $own := index $.Values.services $service -}}
{{- $scaling := $own.autoscaling -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "services.%s.autoscaling: minReplicas is greater than maxReplicas" $service) -}}
{{- end -}}
{{- if include "docqa.existingSecret" $about -}}
{{- if $own.database.password -}}
{{- fail (printf "services.%s.database.password is never read: the Secret %s holds the whole address" $service (include "docqa.secretName" $about)) -}}
{{- end -}}
{{- else -}}
{{- $database := printf "%s/%s" (include "docqa.databaseHost" $about) ($own.database.name | default $service) -}}
{{- with get $databases $database -}}
{{- fail (printf "%s and %s have the same database %s: each needs one of its own, or they destroy each other's tables" . $service $database) -}}
{{- end -}}
{{- $_ := set $databases $database $service -}}
{{- if and (include "docqa.kafkaSasl" $) (not (and $.Values.secrets.kafkaUsername $.Values.secrets.kafkaPassword)) -}}
{{- fail (printf "secrets.kafkaUsername and secrets.kafkaPassword are missing: kafka.security is %s" $.Values.kafka.security) -}}
{{- end -}}
{{- range $provider, $given := dict "openai" (or $.Values.secrets.openaiApiKey $.Values.models.openaiBaseUrl) "google_genai" (or $.Values.secrets.googleApiKey $.Values.models.googleBaseUrl) -}}
{{- if and (not $given) (include "docqa.asks" (dict "root" $ "service" $service "provider" $provider)) -}}
{{- fail (printf "%s uses a model of %s, and there is neither a key nor a base URL for it" $service $provider) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $security := .Values.kafka.security -}}
{{- range $name, $value := dict "kafka.saslMechanism" .Values.kafka.saslMechanism "secrets.kafkaUsername" .Values.secrets.kafkaUsername "secrets.kafkaPassword" .Values.secrets.kafkaPassword -}}
{{- if and $value (not (include "docqa.kafkaSasl" $)) -}}
{{- fail (printf "%s would never be used: kafka.security is %s" $name $security) -}}
{{- end -}}
{{- end -}}
{{- if and (include "docqa.kafkaSasl" .) (not .Values.kafka.saslMechanism) -}}
{{- fail (printf "kafka.saslMechanism is missing: kafka.security is %s" $security) -}}
{{- end -}}
{{- if and .Values.kafka.caSecret (not (include "docqa.kafkaTls" .)) -}}
{{- fail (printf "kafka.caSecret would never be used: kafka.security is %s, without TLS" $security) -}}
{{- end -}}
{{- if .Values.secrets.existingSecret -}}
{{- range $name, $value := omit .Values.secrets "existingSecret" -}}
{{- if $value -}}
{{- fail (printf "secrets.%s is never read: secrets.existingSecret is %s" $name $.Values.secrets.existingSecret) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
