{{/* The port of an address: http://host:port/path, host:port or host. Of: address, otherwise. */}}
{{- define "docqa.portOf" -}}
{{- $address := regexReplaceAll "^[a-z]+://" .address "" | splitList "/" | first -}}
{{- $port := regexFind ":[0-9]+$" $address | trimPrefix ":" -}}
{{ $port | default (hasPrefix "https://" .address | ternary 443 .otherwise) }}
{{- end }}

{{/* A rule of a policy that lets out to an engine: to the ports named for it, or else to those of its address. Of: engine, ports. */}}
{{- define "docqa.out" -}}
- ports:
    {{- range uniq (.engine.ports | default .ports) }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  {{- with .engine.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "docqa.outToNames" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
  {{- with .Values.networkPolicy.dns }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Of: root, service. */}}
{{- define "docqa.outToDatabase" -}}
{{- $port := include "docqa.portOf" (dict "address" (include "docqa.databaseHost" .) "otherwise" 5432) -}}
{{ include "docqa.out" (dict "ports" (list $port) "engine" .root.Values.networkPolicy.postgres) }}
{{- end }}

{{- define "docqa.outToKafka" -}}
{{- $ports := list -}}
{{- range splitList "," .Values.kafka.bootstrapServers -}}
{{- $ports = append $ports (include "docqa.portOf" (dict "address" (trim .) "otherwise" 9092)) -}}
{{- end -}}
{{ include "docqa.out" (dict "ports" $ports "engine" .Values.networkPolicy.kafka) }}
{{- end }}

{{/* Each provider that a service's models need. Of: root, service. */}}
{{- define "docqa.outToProviders" -}}
{{- $models := .root.Values.models -}}
{{- range $provider, $url := dict "openai" $models.openaiBaseUrl "google_genai" $models.googleBaseUrl }}
{{- if include "docqa.asks" (dict "root" $.root "service" $.service "provider" $provider) }}
{{- $engine := $.root.Values.networkPolicy.providers -}}
{{- if not (or $engine.to $url) }}{{ $engine = merge (dict "to" (include "docqa.publicAddresses" $ | fromYamlArray)) $engine }}{{ end }}
{{ include "docqa.out" (dict "ports" (list (include "docqa.portOf" (dict "address" ($url | default "https://") "otherwise" 80))) "engine" $engine) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Not the cluster, not the company's network, and not the cloud's metadata, which hand out credentials. */}}
{{- define "docqa.publicAddresses" -}}
- ipBlock:
    cidr: 0.0.0.0/0
    except: [10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16]
- ipBlock:
    cidr: ::/0
    except: ["::1/128", "fc00::/7", "fe80::/10"]
{{- end }}

{{/* Where a service sends its traces; nothing if it does not. Of: root, service. */}}
{{- define "docqa.telemetry" -}}
{{- $config := include "docqa.config" . | fromYaml -}}
{{ get $config (printf "DOCQA_%s_OTLP_ENDPOINT" (upper .service)) | default (get $config "DOCQA_OTLP_ENDPOINT") }}
{{- end }}
