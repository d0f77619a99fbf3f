defmodule DSPex.Worker.Notices do
  @moduledoc false
  # What a worker says unasked, and what its owner tells of it: log records and telemetry.

  alias DSPex.Telemetry

  require Logger

  @doc "Passes a notification on."
  def notified("log/message", params, _config, _info) do
    level = Map.get(%{"debug" => :debug, "info" => :info, "warning" => :warning}, params["level"], :error)
    Logger.log(level, fn -> "python: #{params["logger"]}: #{params["message"]}" end)
  end

  def notified("telemetry/event", params, _config, info) do
    metadata = %{name: params["name"], worker: info["worker_id"], metadata: params["metadata"]}
    measurements = if is_map(params["measurements"]), do: params["measurements"], else: %{}
    Telemetry.execute([:dspex, :python, :event], measurements, metadata)
  end

  def notified(_method, _params, _config, _info), do: :ok

  @doc "Emits an event of a worker."
  def emit(config, info, event, measurements, metadata) do
    common = %{instance: config.instance, pool: config.pool, worker: info["worker_id"] || config.index}
    Telemetry.execute([:dspex, :worker, event], measurements, Map.merge(common, metadata))
  end
end
