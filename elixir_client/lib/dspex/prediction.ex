defmodule DSPex.Prediction do
  @moduledoc """
  What a program answered.

    * `outputs` – the output fields, a map with text keys; `prediction["answer"]` reads one
    * `fields` – their names, in the order of the signature
    * `completions` – all completions when `n` is above 1, else `nil`
    * `usage` – tokens and LM calls, by model too
    * `cost` – US dollars, when known
    * `meta` – `"worker"`, `"model"`, `"adapter"`, `"request_id"`, `"trace_id"`, `"cache"`, `"queue_ms"`, `"run_ms"`, from Python;
      and `"route"` (`"python"`), `"pool"`, `"duration_ms"` (as the caller saw it)
  """

  @behaviour Access

  defstruct outputs: %{}, fields: [], completions: nil, usage: %{}, cost: nil, meta: %{}

  @type t :: %__MODULE__{
          outputs: %{String.t() => term},
          fields: [String.t()],
          completions: [map] | nil,
          usage: map,
          cost: number | nil,
          meta: map
        }

  @doc "Reads a prediction as it came over the wire; `meta` is added to its own."
  @spec from_wire(term, map) :: {:ok, t} | {:error, DSPex.Error.t()}
  def from_wire(result, meta \\ %{}) do
    case result do
      %DSPex.Ordered{} -> read(Map.new(result.pairs), meta)
      %{} -> read(result, meta)
      _other -> malformed()
    end
  end

  @impl Access
  def fetch(%__MODULE__{outputs: outputs}, name), do: Map.fetch(outputs, to_string(name))

  @impl Access
  def get_and_update(prediction, name, function) do
    {got, outputs} = Map.get_and_update(prediction.outputs, to_string(name), function)
    {got, %{prediction | outputs: outputs}}
  end

  @impl Access
  def pop(prediction, name) do
    {got, outputs} = Map.pop(prediction.outputs, to_string(name))
    {got, %{prediction | outputs: outputs}}
  end

  defp read(%{"outputs" => outputs} = members, meta) when is_map(outputs) do
    {:ok,
     %__MODULE__{
       outputs: DSPex.Ordered.plain(outputs),
       fields: names(outputs),
       completions: DSPex.Ordered.plain(members["completions"]),
       usage: DSPex.Ordered.plain(members["usage"] || %{}),
       cost: members["cost"],
       meta: Map.merge(DSPex.Ordered.plain(members["meta"] || %{}), meta)
     }}
  end

  defp read(_members, _meta), do: malformed()

  defp names(%DSPex.Ordered{} = ordered), do: DSPex.Ordered.keys(ordered)
  defp names(map), do: map |> Map.keys() |> Enum.sort()

  defp malformed,
    do: {:error, DSPex.Error.new(:protocol_error, "the worker's answer is no prediction: it has no outputs")}
end
