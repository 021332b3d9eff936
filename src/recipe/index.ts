export {
  type ApplyRecipeOptions,
  applyRecipe,
  type RecipeReport,
  type SkippedStep,
  type StepReport,
} from './apply.ts'
export {
  type LoadedStep,
  type LoadOptions,
  loadRecipe,
  type Recipe,
  type RecipeReader,
  type RecipeText,
} from './load.ts'
export { type PlannedStep, planRecipe, type RecipePlan, throwProblems } from './plan.ts'
export { type Place, problemText, type RecipeProblem } from './problem.ts'
export { readVariables } from './read-variables.ts'
export type { Condition, StepEntry, StepValue, VariableDeclaration } from './syntax.ts'
export type { VariableValues } from './variables.ts'
