defmodule DSPex.Worker.Call do
  @moduledoc false
  # One request in flight, as its worker's owner sees it.

  @enforce_keys [:pid, :ref, :monitor]
  defstruct [:pid, :ref, :monitor, tools: %{}]

  @type t :: %__MODULE__{
          pid: pid,
          ref: reference,
          monitor: reference,
          tools: %{String.t() => DSPex.Tool.t()}
        }
end
